using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;

namespace AttnCompose.Cuda;

/// <summary>Gets many kernels, several at once where the program can start worker processes.</summary>
internal static class KernelBatch
{
    /// <summary>Batches that this process compiles itself. NVRTC takes one program of a process at a time.</summary>
    private static int s_here;

    /// <summary>Gets kernels from a cache. Only those that it lacks need a compiler, and a worker.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="kernels">What to get.</param>
    /// <param name="workers">Where to compile.</param>
    /// <param name="done">
    /// Told each kernel, by its number, and whether it was compiled now; by one thread at a time.
    /// </param>
    /// <param name="cancellation">As in <see cref="Run"/>.</param>
    /// <returns>Kernels that workers compiled.</returns>
    /// <exception cref="KernelCompilationException">A kernel does not compile, or may not be compiled.</exception>
    public static int Get(
        KernelCache cache, IReadOnlyList<PreparedKernel> kernels, KernelWorkers workers,
        Action<int, CompiledKernel, bool> done, CancellationToken cancellation)
    {
        var missing = new List<int>();
        for (int i = 0; i < kernels.Count; i++)
        {
            if (cache.Find(kernels[i]) is { } kept)
                done(i, kept, false);
            else
                missing.Add(i);
        }
        var compiled = new ConcurrentDictionary<KernelCacheKey, bool>();
        return Run(
            [.. missing.Select(i => kernels[i])], workers, cache.Compile,
            (kernel, compile) => cache.GetOrCompile(kernel, wanted =>
            {
                CompiledKernel made = compile(wanted);
                compiled[wanted.Key] = true;
                return made;
            }),
            (i, kernel) => done(missing[i], kernel, compiled.ContainsKey(kernels[missing[i]].Key)), cancellation);
    }

    /// <summary>Gets every kernel.</summary>
    /// <param name="kernels">What to get.</param>
    /// <param name="workers">
    /// Where to compile, after other batches where they have all workers. One kernel this process compiles, unless it does so for
    /// another batch; where there may be no worker, it compiles all, one after the other.
    /// </param>
    /// <param name="here">Compiles in this process.</param>
    /// <param name="get">Gets a kernel, from a cache or by the compiler that it is given; called on several threads.</param>
    /// <param name="done">Told each kernel that was got, by its number; by one thread at a time.</param>
    /// <param name="cancellation">Ends workers at once; this process ends the kernel that it compiles first.</param>
    /// <returns>Kernels that workers compiled.</returns>
    /// <exception cref="KernelCompilationException">
    /// A kernel does not compile; no further one was begun. Of several, it is the first of those that were begun.
    /// </exception>
    public static int Run(
        IReadOnlyList<PreparedKernel> kernels, KernelWorkers workers, Func<PreparedKernel, CompiledKernel> here,
        Func<PreparedKernel, Func<PreparedKernel, CompiledKernel>, CompiledKernel> get,
        Action<int, CompiledKernel> done, CancellationToken cancellation)
    {
        var gate = new Lock();
        var numbers = new ConcurrentQueue<int>(Enumerable.Range(0, kernels.Count));
        (int Number, Exception? Exception) failure = (int.MaxValue, null);
        bool hasFailed = false;
        int byWorkers = 0, wanted = Math.Min(kernels.Count, workers.Most);
        bool isHere = (wanted < 2 && Interlocked.Increment(ref s_here) == 1) || !workers.Any;

        CompiledKernel GetByWorker(PreparedKernel kernel, ref bool isLost)
        {
            KernelWorkerProcess worker = workers.Enter(cancellation);
            try
            {
                return get(kernel, kernel =>
                {
                    if (worker.Compile(kernel, cancellation) is not { } compiled)
                        return here(kernel);
                    Interlocked.Increment(ref byWorkers);
                    return compiled;
                });
            }
            finally
            {
                isLost = worker.IsLost;
                KernelWorkers.Leave(worker);
            }
        }

        void Work()
        {
            bool isLost = isHere; // after a worker that is lost the next would be, too
            while (!cancellation.IsCancellationRequested && !Volatile.Read(ref hasFailed) && numbers.TryDequeue(out int number))
            {
                try
                {
                    CompiledKernel kernel = isLost ? get(kernels[number], here) : GetByWorker(kernels[number], ref isLost);
                    lock (gate)
                        done(number, kernel);
                }
                catch (Exception e)
                {
                    lock (gate)
                        failure = number < failure.Number ? (number, e) : failure;
                    Volatile.Write(ref hasFailed, true);
                }
            }
        }

        Thread[] threads = [.. Enumerable.Range(0, isHere ? 0 : wanted).Select(_ => new Thread(Work) { IsBackground = true })];
        foreach (Thread thread in threads)
            thread.Start();
        if (isHere)
            Work();
        foreach (Thread thread in threads)
            thread.Join();
        if (wanted < 2)
            Interlocked.Decrement(ref s_here);
        cancellation.ThrowIfCancellationRequested();
        if (failure.Exception is not null)
            ExceptionDispatchInfo.Throw(failure.Exception);
        return byWorkers;
    }
}
