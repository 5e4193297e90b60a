using System.Runtime.CompilerServices;

namespace AttnCompose.Cpu;

/// <summary>Work that is cut into items which workers take in order, each item once.</summary>
public interface ICpuWork
{
    /// <summary>Does item <paramref name="item"/> as worker <paramref name="worker"/>.</summary>
    void Execute(int item, int worker);
}

/// <summary>
/// Threads that live as long as the device and take items from a shared counter. Handing out work allocates nothing. The
/// calling thread is worker 0, so a pool of one has no thread of its own.
/// </summary>
public sealed unsafe class CpuWorkers : IDisposable
{
    private const int SpinRounds = 2_000; // a few tens of microseconds: phases of one call follow each other closely

    private readonly Thread[] _threads;
    private readonly SemaphoreSlim _wake = new(0);
    private readonly Lock _gate = new();
    private delegate*<void*, int, int, void> _invoke;
    private void* _work;
    private int _count;
    private int _next;
    private int _generation;
    private int _running;
    private int _sleeping;
    private Exception? _failure;
    private volatile bool _disposed;

    internal CpuWorkers(int count)
    {
        Count = count;
        _threads = new Thread[count - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _threads[i] = new Thread(() => Serve(worker)) { IsBackground = true, Name = $"attncompose-{worker}" };
        }
        foreach (Thread thread in _threads)
            thread.Start();
    }

    /// <summary>Workers, the calling thread included.</summary>
    public int Count { get; }

    /// <summary>
    /// Executes items 0 to <paramref name="count"/> - 1 and returns when all are done. Calls from several threads take
    /// turns. The first exception of an item is thrown here, after the others have stopped.
    /// </summary>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public void Run<TWork>(ref TWork work, int count)
        where TWork : struct, ICpuWork
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, typeof(CpuDevice));
            if (_threads.Length == 0 || count <= 1)
            {
                for (int item = 0; item < count; item++)
                    work.Execute(item, 0);
                return;
            }

            // The struct may be a field of a class or hold references. Pinning is not possible then, so what the workers
            // get is the address of a managed pointer on this frame, which outlives the call.
            ref TWork local = ref work;
#pragma warning disable CS8500 // address of a managed type: only dereferenced through Unsafe.AsRef below
            fixed (TWork* pinned = &local)
#pragma warning restore CS8500
            {
                _work = pinned;
                _invoke = &Invoke<TWork>;
                _count = count;
                _failure = null;
                Volatile.Write(ref _next, 0);
                Volatile.Write(ref _running, _threads.Length);
                Interlocked.Increment(ref _generation); // publishes the fields above
                int sleeping = Volatile.Read(ref _sleeping);
                if (sleeping > 0)
                    _wake.Release(sleeping);

                Drain(0);
                var spin = new SpinWait();
                while (Volatile.Read(ref _running) != 0)
                    spin.SpinOnce(sleep1Threshold: -1);
            }
            if (_failure is { } failure)
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed)
                return;
            _disposed = true;
            Interlocked.Increment(ref _generation);
            _wake.Release(Math.Max(1, _threads.Length));
        }
        foreach (Thread thread in _threads)
            thread.Join();
        _wake.Dispose();
    }

    private static void Invoke<TWork>(void* work, int item, int worker)
        where TWork : struct, ICpuWork =>
        Unsafe.AsRef<TWork>(work).Execute(item, worker);

    private void Drain(int worker)
    {
        try
        {
            for (int item; (item = Interlocked.Increment(ref _next) - 1) < _count;)
                _invoke(_work, item, worker);
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref _failure, exception, null);
            Volatile.Write(ref _next, int.MaxValue / 2); // hand out nothing more
        }
    }

    private void Serve(int worker)
    {
        int seen = 0;
        while (true)
        {
            int spins = 0;
            while (Volatile.Read(ref _generation) == seen)
            {
                if (++spins < SpinRounds)
                {
                    Thread.SpinWait(10);
                    continue;
                }
                Interlocked.Increment(ref _sleeping);
                // Checked again after announcing the sleep: a generation that began in between saw this sleeper or is seen here.
                if (Volatile.Read(ref _generation) == seen)
                    _wake.Wait();
                Interlocked.Decrement(ref _sleeping);
                spins = 0;
            }
            seen = Volatile.Read(ref _generation);
            if (_disposed)
                return;
            Drain(worker);
            Interlocked.Decrement(ref _running);
        }
    }
}
