using System.Globalization;
using AttnCompose.Cuda;

namespace AttnCompose.Cli;

/// <summary>The text of <c>doctor</c>: facts first, then what they mean for each thing that a user may want to do.</summary>
internal static class DoctorReport
{
    private const double MiB = 1 << 20;
    private const double GiB = 1 << 30;

    public static void Write(TextWriter output, CpuReport cpu, CudaReport cuda)
    {
        output.WriteLine("CPU");
        output.WriteLine(Text($"  {cpu.Architecture}, {cpu.Processors} logical processors, {cpu.MemoryBytes / GiB:0.0} GiB of memory"));
        output.WriteLine($"  {(cpu.Features.Count > 0 ? string.Join(", ", cpu.Features) : "no vector instructions that matter")}");
        output.WriteLine($"  {cpu.Runtime}");

        output.WriteLine("CUDA driver");
        output.WriteLine(cuda.Driver.Path is null || cuda.Driver.Problem is not null
            ? $"  {CommandLine.OneLine(cuda.Driver.Problem ?? "not found")}"
            : $"  CUDA {cuda.Driver.Version}: {cuda.Driver.Path}");
        WriteTried(output, cuda.Driver.Tried);

        output.WriteLine("GPUs");
        foreach (GpuReport gpu in cuda.Gpus)
        {
            output.WriteLine(Text(
                $"  cuda:{gpu.Ordinal} {gpu.Model}, compute capability {gpu.ComputeCapability}, {gpu.Multiprocessors} multiprocessors, {gpu.MemoryBytes / GiB:0.0} GiB"));
            output.WriteLine(gpu.Problem is null ? $"    kernels are compiled for {gpu.Architecture}" : $"    cannot be used: {gpu.Problem}");
            if (gpu.Loops is { } loops)
                output.WriteLine($"    attention loop: {loops}");
            WriteTiles(output, gpu);
        }
        if (cuda.Gpus.Count == 0)
            output.WriteLine("  none");

        output.WriteLine("NVRTC");
        output.WriteLine(cuda.Nvrtc.Path is null
            ? $"  {CommandLine.OneLine(cuda.Nvrtc.Problem ?? "not found")}"
            : $"  {cuda.Nvrtc.Version}: {cuda.Nvrtc.Path}, for sm_{string.Join(", sm_", cuda.Nvrtc.Architectures)}");
        WriteTried(output, cuda.Nvrtc.Tried);

        output.WriteLine("Compiled kernels");
        output.WriteLine(cuda.Cache.Directory is null || cuda.Cache.Problem is not null
            ? $"  not kept: {CommandLine.OneLine(cuda.Cache.Problem ?? "the cache is off")}"
            : Text($"  {cuda.Cache.Directory}: {cuda.Cache.Entries} entries, {cuda.Cache.Bytes / MiB:0.0} MiB"));
        KernelWorkers workers = KernelWorkers.Current;
        string by = workers is { Any: true, Most: > 1 } ? Text($"{workers.Most} processes") : "one process";
        output.WriteLine($"  what is not there is compiled by {by}");

        output.WriteLine("What this means");
        foreach (string line in Meaning(cpu, cuda))
            output.WriteLine($"  {line}");
    }

    /// <summary>Which tiles the wgmma loop runs in, and why.</summary>
    private static void WriteTiles(TextWriter output, GpuReport gpu)
    {
        if (gpu.Loops is not { WgmmaHeadDims.Count: > 0 } loops)
            return;
        var defaults = loops.WgmmaHeadDims.Select(dim => $"{AttentionTile.DefaultFor(dim)} at head dim {dim}");
        output.WriteLine($"    attention tiles (queries x keys x stages): {string.Join(", ", defaults)}");
        var tuned = gpu.Tunings.Where(stored => stored.Tuning.AttentionTile is not null).ToArray();
        foreach (var (of, tuning) in tuned)
        {
            output.WriteLine(
                $"      but {tuning.AttentionTile} at head dim {of.HeadDim}, {of.Element}, {of.MaskWord} mask, {of.LengthWord} calls:"
                + " 'attncompose tune' measured it to be faster");
        }
        if (tuned.Length == 0)
            output.WriteLine("      for all calls: 'attncompose tune' has stored no others");
    }

    private static IEnumerable<string> Meaning(CpuReport cpu, CudaReport cuda)
    {
        yield return $"--device cpu works, with {cpu.VectorBits}-bit vectors"
            + (cpu.VectorBits < 256 ? "; the kernels are written for 256 and 512 bits, so expect it to be slow." : ".");
        GpuReport[] usable = [.. cuda.Gpus.Where(gpu => gpu.IsSupported)];
        if (cuda.CanRun)
            yield return $"--device {string.Join(", ", usable.Select(gpu => $"cuda:{gpu.Ordinal}"))} works.";
        else if (cuda.Driver.Path is null || cuda.Driver.Problem is not null)
            yield return "--device cuda does not work: there is no usable CUDA driver. It comes with the NVIDIA display driver.";
        else if (usable.Length == 0)
            yield return "--device cuda does not work: the driver has no GPU that can be used.";
        else
            yield return "--device cuda does not work: kernels are compiled when they are first used, and NVRTC was not found.";
        yield return cuda.CanCompile
            ? "The emitted CUDA can be compiled here, GPU or not."
            : "The emitted CUDA cannot be compiled here. Install a CUDA toolkit (12.4 or later), or set ATTNCOMPOSE_NVRTC to the NVRTC library or its folder.";
    }

    private static void WriteTried(TextWriter output, IReadOnlyList<LibraryAttempt> tried)
    {
        foreach (LibraryAttempt attempt in tried)
            output.WriteLine($"    tried {attempt.Path}: {CommandLine.OneLine(attempt.Outcome)}");
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
