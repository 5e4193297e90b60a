using AttnCompose.Conformance;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests;

/// <summary>The pipelines that have every pair of what a declaration decides, and what `verify` calls them with.</summary>
public sealed class PairTests : IDisposable
{
    private static readonly IReadOnlyList<PipelineConfig> s_all = PairConfigs.All(seed: 1);

    private readonly Dictionary<int, CpuDevice> _devices = [];

    // What a declaration decides, as a configuration says it.
    private static readonly (string Name, Func<PipelineConfig, object> Of)[] s_declared =
    [
        ("tokens", c => (c.Sparse, c.Score, c.HasPair)), ("budget", c => (c.HasPair, c.Budget, c.Count > 0)), ("scope", c => c.Scope),
        ("pruned", c => c.Pruned), ("blocks", c => (c.Blocks, c.BlockSelector)), ("block size", c => (c.BlockQuery, c.BlockKey)),
        ("rule", c => c.Rule), ("mask", c => c.Mask),
    ];

    // Properties of a call that every pipeline takes.
    private static readonly (string Name, Func<PipelineConfig, object> Of)[] s_called =
    [
        ("lengths vary", c => c.VaryLengths), ("Lq = Lk", c => c.QueryLength == c.KeyLength), ("batch", c => c.Batch > 1),
        ("grouped heads", c => c.QueryHeads > c.KeyValueHeads), ("element", c => c.Element), ("float output", c => c.FloatOutput),
        ("loop", c => c.HeadDim is 64 or 96 or 128), ("layout", c => c.Layout),
    ];

    // Those that need a token selection, or a block selector.
    private static readonly (string Name, Func<PipelineConfig, bool> Of, Func<PipelineConfig, bool> Applies)[] s_partly =
    [
        ("gathered ahead", c => c.GatherHeads > 0, c => c.Sparse),
        ("dense heads", c => c.HasDenseHeads, c => c.BlockSelector != BlockSelectorKind.None),
    ];

    [Fact]
    public void Every_pipeline_is_verified()
    {
        string[] declared = [.. typeof(PairConfigs).Assembly.GetTypes()
            .Where(type => type.IsDefined(typeof(AttentionPipelineAttribute), false) && type.Name.StartsWith("Pair", StringComparison.Ordinal))
            .Select(type => type.Name.ToLowerInvariant()).Order(StringComparer.Ordinal)];
        Assert.Equal(declared, s_all.Select(config => config.Declaration).Distinct().Order(StringComparer.Ordinal));
        Assert.All(s_all.CountBy(config => config.Declaration), pipeline => Assert.Equal(PairConfigs.PerPipeline, pipeline.Value));
    }

    [Fact]
    public void A_pipeline_has_one_kernel_text() =>
        Assert.All(
            s_all.GroupBy(config => config.Declaration),
            pipeline => Assert.Single(pipeline.Select(config => (config.HeadDim, config.Element, config.FloatOutput)).Distinct()));

    [Fact]
    public void What_is_declared_meets_every_property_of_a_call()
    {
        var missing = new List<string>();
        foreach (var declared in s_declared)
        {
            foreach (var called in s_called)
                missing.AddRange(Missing(s_all, declared.Name, declared.Of, called.Name, called.Of));
            foreach (var (name, of, applies) in s_partly)
                missing.AddRange(Missing([.. s_all.Where(applies)], declared.Name, declared.Of, name, config => of(config)));
        }
        Assert.Empty(missing);
    }

    [Fact]
    public void Any_two_properties_of_a_call_meet()
    {
        var missing = new List<string>();
        for (int i = 0; i < s_called.Length; i++)
        {
            foreach (var other in s_called.Skip(i + 1))
                missing.AddRange(Missing(s_all, s_called[i].Name, s_called[i].Of, other.Name, other.Of));
            foreach (var (name, of, applies) in s_partly)
                missing.AddRange(Missing([.. s_all.Where(applies)], s_called[i].Name, s_called[i].Of, name, config => of(config)));
        }
        Assert.Empty(missing);
    }

    [Fact]
    public void A_line_replays_its_configuration() =>
        Assert.All(s_all, config => Assert.Equal(config, PipelineConfig.Parse(config.ToString())));

    [Fact]
    public void Pipelines_agree_with_the_oracle()
    {
        var failures = new List<string>();
        foreach ((int i, PipelineConfig config) in PairConfigs.All(seed: 2, small: true).Index())
        {
            if ((i + i / PairConfigs.PerPipeline) % 4 == 0)
                failures.AddRange(Failures(config));
        }
        Assert.True(failures.Count == 0, $"{failures.Count} failures\n{string.Join('\n', failures.Take(10))}");
    }

    public void Dispose()
    {
        foreach (CpuDevice device in _devices.Values)
            device.Dispose();
    }

    private IEnumerable<string> Failures(PipelineConfig config)
    {
        if (!_devices.TryGetValue(config.Threads, out CpuDevice? device))
            _devices[config.Threads] = device = AttentionDevice.Cpu(config.Threads);
        using IAttentionPipeline pipeline = ReadyConfigs.Create(config, device);
        var inputs = new PipelineCase(config);
        return inputs.Check(inputs.Run(pipeline));
    }

    private static IEnumerable<string> Missing(
        IReadOnlyList<PipelineConfig> configs, string first, Func<PipelineConfig, object> a, string second, Func<PipelineConfig, object> b)
    {
        HashSet<(object, object)> seen = [.. configs.Select(config => (a(config), b(config)))];
        foreach (object one in configs.Select(a).Distinct())
        {
            foreach (object two in configs.Select(b).Distinct().Where(two => !seen.Contains((one, two))))
                yield return $"{first} {one} never with {second} {two}";
        }
    }
}
