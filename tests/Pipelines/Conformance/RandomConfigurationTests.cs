using AttnCompose.Conformance;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests;

/// <summary>Whole pipelines against the oracle in double, over seeded random configurations.</summary>
public sealed class RandomConfigurationTests : IDisposable
{
    private const int Slices = 16;
    private const int PerSlice = 256;

    private readonly Dictionary<int, CpuDevice> _devices = [];

    public static TheoryData<int> Slice => [.. Enumerable.Range(0, Slices)];

    [Theory]
    [MemberData(nameof(Slice))]
    public void PipelinesAgreeWithTheOracle(int slice)
    {
        var failures = new List<string>();
        for (int seed = slice * PerSlice; seed < (slice + 1) * PerSlice; seed++)
            failures.AddRange(Failures(PipelineConfig.Random(seed)));
        Assert.True(failures.Count == 0, $"{failures.Count} failures\n{string.Join('\n', failures.Take(10))}");
    }

    /// <summary>Configurations that failed once, run for ever after; put a replay line here.</summary>
    [Theory]
    [InlineData( // slept for ever: three workers, one of which took another's wake-up
        "seed=10 element=Float32 floatout=False b=1 hq=2 hkv=1 lq=90 lk=90 d=40 mask=Causal vary=False content=Sink " +
        "layout=Bhld rule=Distance threads=3 sparse=True coverage=0.005 window=2 pool=3 min=64 round=False")]
    [InlineData( // large scores: an ulp of a score is more than the straightforward code's luck allows
        "seed=209 element=BFloat16 floatout=True b=1 hq=2 hkv=2 lq=61 lk=61 d=64 mask=Full vary=True content=Peaked " +
        "layout=Blhd rule=None threads=2 sparse=True coverage=0.02 window=2 pool=7 min=0 round=False")]
    public void ConfigurationsThatFailedOnceAgree(string line) => Assert.Empty(Failures(PipelineConfig.Parse(line)));

    [Fact]
    public void AReplayLineGivesTheSameConfiguration()
    {
        for (int seed = 0; seed < 200; seed++)
        {
            PipelineConfig config = PipelineConfig.Random(seed);
            Assert.Equal(config, PipelineConfig.Parse(config.ToString()));
            Assert.InRange(config.MultiplyAdds, 1, PipelineConfig.MaxMultiplyAdds);
        }
    }

    [Fact]
    public void ALineThatLacksAPartIsRefused() =>
        Assert.Contains("lk", Assert.Throws<FormatException>(() => PipelineConfig.Parse(
            PipelineConfig.Random(3).ToString().Replace(" lk=", " xx="))).Message);

    public void Dispose()
    {
        foreach (CpuDevice device in _devices.Values)
            device.Dispose();
    }

    private IEnumerable<string> Failures(PipelineConfig config)
    {
        if (!_devices.TryGetValue(config.Threads, out CpuDevice? device))
            _devices[config.Threads] = device = AttentionDevice.Cpu(config.Threads);
        using IAttentionPipeline pipeline = StagePipeline.Create(config, device);
        var inputs = new PipelineCase(config);
        try
        {
            return inputs.Check(inputs.Run(pipeline));
        }
        catch (Exception exception)
        {
            return [$"{exception}\n  replay: {config}"];
        }
    }
}
