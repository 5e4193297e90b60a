using System.Globalization;
using AttnCompose.Cpu;
using AttnCompose.Cuda;

namespace AttnCompose.Cli.Bench;

/// <summary>What rows were measured on, by name.</summary>
internal static class MachineFacts
{
    /// <summary>Collects the facts.</summary>
    /// <param name="device">The device of our pipelines.</param>
    /// <param name="monitor">Its clocks and power; null where they are not known.</param>
    /// <param name="rows">What was measured.</param>
    /// <param name="peers">What the peers say of themselves.</param>
    public static IReadOnlyList<KeyValuePair<string, string>> Of(
        AttentionDevice device, GpuMonitor? monitor, IReadOnlyList<BenchRow> rows,
        IReadOnlyList<KeyValuePair<string, string>> peers)
    {
        var facts = new List<KeyValuePair<string, string>> { new("device", $"{device}") };
        if (monitor is not null)
        {
            facts.Add(new("driver", monitor.Driver));
            facts.Add(new("memory clock", Text($"{monitor.MemoryMegahertz:0} MHz")));
            facts.Add(new("power limit", Text($"{monitor.PowerLimitWatts:0} W")));
            BenchRow[] clocked = [.. rows.Where(row => row.ClockMegahertz > 0)];
            if (clocked.Length > 0)
            {
                facts.Add(new("clock while measuring", Text(
                    $"{clocked.Min(row => row.ClockMegahertz):0} to {clocked.Max(row => row.ClockMegahertz):0} MHz")));
                facts.Add(new("power while measuring", Text(
                    $"{clocked.Min(row => row.PowerWatts):0} to {clocked.Max(row => row.PowerWatts):0} W")));
            }
        }
        if (device is CudaDevice && KernelCompiler.IsAvailable)
            facts.Add(new("NVRTC", KernelCompiler.Version.ToString()));
        CpuReport cpu = CpuReport.Examine();
        facts.Add(new("cpu", $"{cpu.Architecture}, {cpu.Processors} processors, {CpuDevice.VectorBits}-bit vectors"));
        if (device is CpuDevice)
        {
            facts.Add(new("peak of multiply-adds, float32", Text(
                $"{CpuPeak.Measure() / 1e9:0} GFLOP/s a core, {CpuPeak.MeasureTogether(cpu.Processors) / 1e9:0} on all {cpu.Processors} processors")));
        }
        facts.Add(new("runtime", cpu.Runtime));
        facts.AddRange(peers.Select(fact => KeyValuePair.Create($"peers' {fact.Key}", fact.Value)));
        return facts;
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
