using System.ComponentModel;
using System.Diagnostics;
using System.Text;

namespace AttnCompose.Cuda;

/// <summary>
/// A worker process, started by its first kernel. One that cannot be started, has no compiler or ends before its time is lost,
/// and compiles nothing from then on.
/// </summary>
internal sealed class KernelWorkerProcess(ProcessStartInfo command) : IDisposable
{
    private Process? _process;
    private BinaryWriter? _requests;
    private BinaryReader? _replies;

    /// <summary>What it is started by.</summary>
    public ProcessStartInfo Command => command;

    /// <summary>Whether it compiles nothing any more.</summary>
    public bool IsLost { get; private set; }

    /// <summary>The compiled kernel; null where the worker is lost.</summary>
    /// <param name="kernel">What to compile.</param>
    /// <param name="cancellation">Ends the process.</param>
    public CompiledKernel? Compile(PreparedKernel kernel, CancellationToken cancellation)
    {
        if (!IsLost && (_process is not null || Start()))
        {
            using CancellationTokenRegistration kill = cancellation.Register(static process => Kill((Process)process!), _process);
            try
            {
                KernelWorker.WriteRequest(_requests!, kernel);
                if (KernelWorker.ReadReply(_replies!, kernel) is { } compiled)
                {
                    IsLost = cancellation.IsCancellationRequested;
                    return compiled;
                }
            }
            catch (IOException)
            {
                IsLost = true;
                cancellation.ThrowIfCancellationRequested(); // it did not end by itself
            }
        }
        IsLost = true;
        return null;
    }

    public void Dispose()
    {
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
