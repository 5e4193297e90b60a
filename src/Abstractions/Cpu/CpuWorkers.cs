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
    private readonly Sleeper[] _sleepers; // one a thread: a shared semaphore would let one thread take another's permit
    private readonly Lock _gate = new();
    private delegate*<void*, int, int, void> _invoke;
    private void* _work;
    private int _count;
    private int _next;
    private int _generation;
    private int _running;
    private Exception? _failure;
    private volatile bool _disposed;

    internal CpuWorkers(int count)
    {
        Count = count;
        _threads = new Thread[count - 1];
        _sleepers = new Sleeper[count - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _sleepers[i] = new Sleeper();
            _threads[i] = new Thread(() => Serve(worker)) { IsBackground = true, Name = $"attncompose-{worker}" };
        }
        foreach (Thread thread in _threads)
            thread.Start();
    }

    /// <summary>Workers, the calling thread included.</summary>
    public int Count { get; }

    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    internal void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_disposed, typeof(CpuDevice));

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

            // Pinned, as it may be a field of a class. It may hold references too: the pinned struct keeps them alive, and the
            // workers reach it through Unsafe.AsRef alone.
#pragma warning disable CS8500 // address of a managed type
            fixed (TWork* pinned = &work)
#pragma warning restore CS8500
            {
                _work = pinned;
                _invoke = &Invoke<TWork>;
                _count = count;
                _failure = null;
                Volatile.Write(ref _next, 0);
                Volatile.Write(ref _running, _threads.Length);
                Interlocked.Increment(ref _generation); // publishes the fields above
                foreach (Sleeper sleeper in _sleepers)
                    sleeper.Wake();

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
            foreach (Sleeper sleeper in _sleepers)
                sleeper.Wake();
        }
        foreach (Thread thread in _threads)
            thread.Join();
        foreach (Sleeper sleeper in _sleepers)
            sleeper.Dispose();
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
                _sleepers[worker - 1].Sleep(ref _generation, seen);
                spins = 0;
            }
            seen = Volatile.Read(ref _generation);
            if (_disposed)
                return;
            Drain(worker);
            Interlocked.Decrement(ref _running);
        }
    }

    /// <summary>Lets one thread sleep until a generation begins that it has not seen.</summary>
    private sealed class Sleeper : IDisposable
    {
        private readonly SemaphoreSlim _permit = new(0);
        private int _asleep;

        public void Sleep(ref int generation, int seen)
        {
            Interlocked.Exchange(ref _asleep, 1);
            // Checked again after announcing the sleep: a generation that began in between saw the announcement or is seen here.
            // Where it saw the announcement a permit is on its way, and it is taken in either case.
            if (Volatile.Read(ref generation) == seen || Interlocked.Exchange(ref _asleep, 0) == 0)
                _permit.Wait();
        }

        public void Wake()
        {
            if (Interlocked.Exchange(ref _asleep, 0) != 0)
                _permit.Release();
        }

        public void Dispose() => _permit.Dispose();
    }
}
