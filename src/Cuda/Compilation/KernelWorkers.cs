using System.Diagnostics;

namespace AttnCompose.Cuda;

/// <summary>The worker processes that may run at a time, which all batches of this process share.</summary>
/// <param name="Command">How to start one; null where the program cannot be one.</param>
/// <param name="Most">Most that run at a time.</param>
internal sealed record KernelWorkers(ProcessStartInfo? Command, int Most)
{
    /// <summary>Most that are started unasked: a pipeline has up to ten kernels, of which three or four are slow.</summary>
    private const int MostUnasked = 8;

    /// <summary>Bytes that a worker holds at its peak: the runtime, NVRTC and one program.</summary>
    private const long WorkerBytes = 256L << 20;

    /// <summary>How long a worker without work stays for the next batch, milliseconds.</summary>
    private const int Patience = 2000;

    private static readonly object s_gate = new();
    private static readonly List<(KernelWorkerProcess Worker, long Since)> s_idle = [];
    private static readonly Timer s_dismissal = new(static _ => Dismiss(Patience));
    private static int s_running;

    /// <summary>Those of this process, as <see cref="CudaSettings"/> say.</summary>
    public static KernelWorkers Current => new(KernelWorker.Command, MostOf(CudaSettings.Current));

    /// <summary>Whether there may be any.</summary>
    public bool Any => Command is not null && Most > 0;

    /// <summary>
    /// Where none are named: one a processor, and no more than fit in half of the memory that the machine, or the container, has.
    /// </summary>
    public static int MostOf(CudaSettings settings) => settings.CompileWorkers ?? (int)Math.Min(
        Math.Min(Environment.ProcessorCount, MostUnasked), GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 2 / WorkerBytes);

    /// <summary>A worker, as soon as fewer than <see cref="Most"/> run. Whoever enters leaves, and enters no second time before.</summary>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public KernelWorkerProcess Enter(CancellationToken cancellation)
    {
        using CancellationTokenRegistration wake = cancellation.Register(static () =>
        {
            lock (s_gate)
                Monitor.PulseAll(s_gate);
        });
        lock (s_gate)
        {
            while (s_running >= Most)
            {
                cancellation.ThrowIfCancellationRequested();
                Monitor.Wait(s_gate);
            }
            s_running++;
            int known = s_idle.FindLastIndex(each => each.Worker.Command == Command);
            if (known < 0)
                return new(Command!);
            KernelWorkerProcess worker = s_idle[known].Worker;
            s_idle.RemoveAt(known);
            return worker;
        }
    }

    /// <summary>Gives a worker back. It ends when nobody wants it for a while, and with this process in any case.</summary>
    public static void Leave(KernelWorkerProcess worker)
    {
        lock (s_gate)
        {
            s_running--;
            Monitor.PulseAll(s_gate);
            if (!worker.IsLost)
            {
                s_idle.Add((worker, Environment.TickCount64));
                s_dismissal.Change(Patience, Patience);
                return;
            }
        }
        worker.Dispose();
    }

    /// <summary>Ends the workers that had nothing to do for a while, milliseconds.</summary>
    public static void Dismiss(int idle)
    {
        (KernelWorkerProcess Worker, long Since)[] dismissed;
        lock (s_gate)
        {
            long latest = Environment.TickCount64 - idle;
            dismissed = [.. s_idle.Where(each => each.Since <= latest)];
            s_idle.RemoveAll(each => each.Since <= latest);
            if (s_idle.Count == 0)
                s_dismissal.Change(Timeout.Infinite, Timeout.Infinite);
        }
        foreach ((KernelWorkerProcess worker, _) in dismissed)
            worker.Dispose();
    }
}
