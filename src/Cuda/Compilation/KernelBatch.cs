using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;

namespace AttnCompose.Cuda;

/// <summary>Compiles many kernels, several at once where the program can start worker processes.</summary>
internal static class KernelBatch
{
    /// <summary>Most workers that are started unasked; each holds a compiler of some hundred megabytes.</summary>
    private const int MostWorkers = 8;

    /// <summary>Batches that this process compiles itself. NVRTC takes one program of a process at a time.</summary>
    private static int s_here;

    /// <summary>Workers for a number of kernels under some settings.</summary>
    public static int WorkersFor(int kernels, CudaSettings settings) =>
        Math.Min(kernels, settings.CompileWorkers ?? Math.Min(Environment.ProcessorCount, MostWorkers));

    /// <summary>Gets every kernel.</summary>
    /// <param name="kernels">What to get.</param>
    /// <param name="workers">
    /// Worker processes. With 1 this process compiles, unless it does so for another batch; with 0, or where the program cannot
    /// start any, it does in any case.
    /// </param>
    /// <param name="get">Gets a kernel, from a cache or by the compiler that it is given; called on several threads.</param>
    /// <param name="done">Told each kernel that was got, by its number; by one thread at a time.</param>
    /// <param name="cancellation">Ends workers at once; this process ends the kernel that it compiles first.</param>
    /// <returns>Kernels that workers compiled.</returns>
    /// <exception cref="KernelCompilationException">A kernel does not compile; no further one was begun.</exception>
    public static int Run(
        IReadOnlyList<PreparedKernel> kernels, int workers,
        Func<PreparedKernel, Func<PreparedKernel, CompiledKernel>, CompiledKernel> get,
        Action<int, CompiledKernel> done, CancellationToken cancellation)
    {
        var gate = new Lock();
        var numbers = new ConcurrentQueue<int>(Enumerable.Range(0, kernels.Count));
        Exception? failure = null;
        int byWorkers = 0;
        bool isFirst = workers < 2 && Interlocked.Increment(ref s_here) == 1;
        bool isAlone = workers < 1 || isFirst || KernelWorker.Command is null;

        void Work()
        {
            using KernelWorkerProcess? worker = isAlone ? null : new(KernelWorker.Command!, cancellation);
            CompiledKernel Compile(PreparedKernel kernel)
            {
                if (worker?.Compile(kernel) is not { } compiled)
                    return KernelCompiler.Compile(kernel.Source, kernel.Headers, kernel.Options);
                Interlocked.Increment(ref byWorkers);
                return compiled;
            }

            while (!cancellation.IsCancellationRequested && Volatile.Read(ref failure) is null
                && numbers.TryDequeue(out int number))
            {
                try
                {
                    CompiledKernel kernel = get(kernels[number], Compile);
                    lock (gate)
                        done(number, kernel);
                }
                catch (Exception e)
                {
                    Interlocked.CompareExchange(ref failure, e, null);
                }
            }
        }

        Thread[] threads = [.. Enumerable.Range(0, isAlone ? 0 : workers).Select(_ => new Thread(Work) { IsBackground = true })];
        foreach (Thread thread in threads)
            thread.Start();
        if (isAlone)
            Work();
        foreach (Thread thread in threads)
            thread.Join();
        if (workers < 2)
            Interlocked.Decrement(ref s_here);
        cancellation.ThrowIfCancellationRequested();
        if (failure is not null)
            ExceptionDispatchInfo.Throw(failure);
        return byWorkers;
    }
}
