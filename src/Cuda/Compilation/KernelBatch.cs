using System.Collections.Concurrent;
using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using System.Text;

namespace AttnCompose.Cuda;

/// <summary>Compiles many kernels, several at once where the program can start worker processes.</summary>
internal static class KernelBatch
{
    /// <summary>Most workers that are started unasked; each holds a compiler of some hundred megabytes.</summary>
    private const int MostWorkers = 8;

    /// <summary>Workers for a number of kernels under some settings.</summary>
    public static int WorkersFor(int kernels, CudaSettings settings) =>
        Math.Min(kernels, settings.CompileWorkers ?? Math.Min(Environment.ProcessorCount, MostWorkers));

    /// <summary>Gets every kernel.</summary>
    /// <param name="kernels">What to get.</param>
    /// <param name="workers">Worker processes; below 2, or where the program cannot start any, this process compiles.</param>
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
        bool isAlone = workers < 2 || KernelWorker.Command is null;

        void Work()
        {
            using Worker? worker = isAlone ? null : new(KernelWorker.Command!, cancellation);
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
        cancellation.ThrowIfCancellationRequested();
        if (failure is not null)
            ExceptionDispatchInfo.Throw(failure);
        return byWorkers;
    }

    /// <summary>
    /// A worker process, started by its first kernel. One that cannot be started, has no compiler or ends before its time is lost,
    /// and compiles nothing from then on.
    /// </summary>
    private sealed class Worker(ProcessStartInfo command, CancellationToken cancellation) : IDisposable
    {
        private Process? _process;
        private BinaryWriter? _requests;
        private BinaryReader? _replies;
        private CancellationTokenRegistration _kill;
        private bool _isLost;

        /// <summary>The compiled kernel; null where the worker is lost.</summary>
        public CompiledKernel? Compile(PreparedKernel kernel)
        {
            if (!_isLost && (_process is not null || Start()))
            {
                try
                {
                    KernelWorker.WriteRequest(_requests!, kernel);
                    if (KernelWorker.ReadReply(_replies!, kernel) is { } compiled)
                        return compiled;
                }
                catch (IOException)
                {
                    cancellation.ThrowIfCancellationRequested(); // it did not end by itself
                }
            }
            _isLost = true;
            return null;
        }

        public void Dispose()
        {
            _kill.Dispose();
            if (_process is null)
                return;
            Kill(_process);
            _process.WaitForExit();
            _process.Dispose();
        }

        private bool Start()
        {
            try
            {
                lock (command) // reading its environment for the first time changes it
                    _process = Process.Start(command);
            }
            catch (Exception e) when (e is Win32Exception or IOException or PlatformNotSupportedException)
            {
                return false;
            }
            if (_process is null)
                return false;
            _requests = new BinaryWriter(_process.StandardInput.BaseStream, Encoding.UTF8);
            _replies = new BinaryReader(_process.StandardOutput.BaseStream, Encoding.UTF8);
            _kill = cancellation.Register(static process => Kill((Process)process!), _process);
            return true;
        }

        private static void Kill(Process process)
        {
            try
            {
                process.Kill();
            }
            catch (Exception e) when (e is InvalidOperationException or Win32Exception)
            {
                // it has ended, or is about to
            }
        }
    }
}
