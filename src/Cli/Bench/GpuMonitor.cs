using AttnCompose.Cli.Bench.Interop;
using AttnCompose.Cuda;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cli.Bench;

/// <summary>Reads a GPU's clocks and power while others work, a few times a second, through NVML.</summary>
internal sealed unsafe class GpuMonitor : IDisposable
{
    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(50);

    private readonly nint _gpu;
    private readonly Lock _gate = new();
    private readonly List<(double Megahertz, double Watts)> _readings = [];
    private readonly Timer _timer;
    private bool _disposed;

    private GpuMonitor(nint gpu, string driver)
    {
        (_gpu, Driver) = (gpu, driver);
        uint limit;
        PowerLimitWatts = Nvml.nvmlDeviceGetPowerManagementLimit(gpu, &limit) == Nvml.Success ? limit / 1000.0 : 0;
        uint memory;
        MemoryMegahertz = Nvml.nvmlDeviceGetClockInfo(gpu, Nvml.MemoryClock, &memory) == Nvml.Success ? memory : 0;
        _timer = new Timer(_ => Read(), null, s_interval, s_interval);
    }

    /// <summary>Version of the driver.</summary>
    public string Driver { get; }

    /// <summary>Power at which the clocks are lowered, W; 0 where it is not known.</summary>
    public double PowerLimitWatts { get; }

    /// <summary>Clock of the memory, MHz; 0 where it is not known.</summary>
    public double MemoryMegahertz { get; }

    /// <summary>The monitor of a device; null where the driver comes without NVML or NVML does not know the device.</summary>
    public static GpuMonitor? Open(CudaDevice device)
    {
        if (device.Context.Driver is not NativeCudaDriver driver || !NativeMeasures.HasManagement)
            return null;
        if (Nvml.nvmlInit_v2() != Nvml.Success)
            return null;
        byte* id = stackalloc byte[32];
        byte* version = stackalloc byte[80];
        nint gpu = 0;
        bool found = driver.DeviceBusId(new Span<byte>(id, 32), device.Context.Device) == CudaResult.Success
            && Nvml.nvmlDeviceGetHandleByPciBusId_v2(id, &gpu) == Nvml.Success
            && Nvml.nvmlSystemGetDriverVersion(version, 80) == Nvml.Success;
        if (found)
            return new GpuMonitor(gpu, Utf8Text.Read(version, ""));
        Nvml.nvmlShutdown();
        return null;
    }

    /// <summary>Medians since the last call; 0 where nothing could be read.</summary>
    public (double Megahertz, double Watts) Take()
    {
        lock (_gate)
        {
            if (_readings.Count == 0)
                return (0, 0);
            var medians = (
                SampleStatistics.Of(_readings.Select(reading => reading.Megahertz)).Median,
                SampleStatistics.Of(_readings.Select(reading => reading.Watts)).Median);
            _readings.Clear();
            return medians;
        }
    }

    public void Dispose()
    {
        _timer.Dispose();
        lock (_gate)
        {
            if (_disposed)
                return;
            _disposed = true;
            Nvml.nvmlShutdown();
        }
    }

    private void Read()
    {
        uint clock, power;
        lock (_gate)
        {
            if (!_disposed
                && Nvml.nvmlDeviceGetClockInfo(_gpu, Nvml.MultiprocessorClock, &clock) == Nvml.Success
                && Nvml.nvmlDeviceGetPowerUsage(_gpu, &power) == Nvml.Success)
                _readings.Add((clock, power / 1000.0));
        }
    }
}
