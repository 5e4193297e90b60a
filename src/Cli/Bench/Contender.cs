using System.Diagnostics;

namespace AttnCompose.Cli.Bench;

/// <summary>One implementation on one problem. Contenders take turns, one sample each.</summary>
internal interface IContender : IDisposable
{
    /// <summary>Pipeline or peer.</summary>
    string Implementation { get; }

    /// <summary>Whether it is one of ours.</summary>
    bool IsOwn { get; }

    /// <summary>Its problem. What it keeps may be known after <see cref="Prepare"/> only.</summary>
    BenchCase Case { get; }

    /// <summary>What a reader has to know.</summary>
    string Note { get; }

    /// <summary>Compiles, warms up, and finds out how many calls make a sample.</summary>
    void Prepare();

    /// <summary>Milliseconds of one call: the mean of the calls of a sample.</summary>
    double Sample();
}

/// <summary>
/// The rhythm of a contender. A pass is one call on each set of inputs; a sample is as many passes, back to back, as take
/// <see cref="SampleMilliseconds"/>. A short sample has an untimed pass before it, because another contender may have cooled
/// the chip or filled its caches; a long one warms itself.
/// </summary>
internal abstract class TimedContender : IContender
{
    private const double SampleMilliseconds = 10;
    private const int MostPasses = 2000;

    private int _passes = 1;
    private bool _isShort;

    public abstract string Implementation { get; }

    public bool IsOwn => true;

    public abstract BenchCase Case { get; }

    public virtual string Note => "";

    /// <summary>Calls of one pass.</summary>
    protected abstract int Calls { get; }

    public void Prepare()
    {
        WarmUp();
        double pass = Time(1);
        _isShort = pass < 2 * SampleMilliseconds;
        _passes = Math.Clamp((int)Math.Ceiling(SampleMilliseconds / Math.Max(pass, 1e-6)), 1, MostPasses);
    }

    public double Sample()
    {
        if (_isShort)
            Time(1);
        return Time(_passes) / ((double)_passes * Calls);
    }

    public abstract void Dispose();

    /// <summary>Everything that happens once: compiling, allocating, capturing.</summary>
    protected abstract void WarmUp();

    /// <summary>Milliseconds of a number of passes.</summary>
    protected abstract double Time(int passes);
}

/// <summary>A pipeline on the CPU, over inputs that several pipelines may share.</summary>
internal sealed class CpuContender<T>(IAttentionPipeline pipeline, BenchCase problem, HostInputs<T> inputs) : TimedContender
    where T : unmanaged
{
    private BenchCase _case = problem;

    public override string Implementation => pipeline.PipelinePlan.Name;

    public override BenchCase Case => _case;

    protected override int Calls => 1;

    public override void Dispose() => pipeline.Dispose();

    protected override void WarmUp()
    {
        if (_case.Workload != Workloads.TokenSparse)
        {
            inputs.Run(pipeline, null);
            return;
        }
        var selection = new TokenSelection();
        inputs.Run(pipeline, selection);
        _case = _case with { Kept = Kept(selection, _case.Heads) };
    }

    protected override double Time(int passes)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < passes; i++)
            inputs.Run(pipeline, null);
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }

    /// <summary>Tokens kept, the mean over heads.</summary>
    public static int Kept(TokenSelection selection, int heads) =>
        (int)Math.Round(Enumerable.Range(0, heads).Average(head => selection.KeyCount(0, head)));
}
