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
            if ((i + i / (PairConfigs.PerPipeline / 2)) % 2 == 0)
                failures.AddRange(Failures(config));
        }
        Assert.True(failures.Count == 0, $"{failures.Count} failures\n{string.Join('\n', failures.Take(10))}");
    }

    [Fact]
    public void The_smallest_call_is_right() => Assert.Empty(s_all.DistinctBy(config => config.Declaration).SelectMany(config => Failures(config with
    {
        Batch = 1, QueryHeads = 1, KeyValueHeads = 1, QueryLength = 1, KeyLength = 1, VaryLengths = false,
    })));

    [Theory]
    [InlineData(RuleKind.Distance)]
    [InlineData(RuleKind.SoftCap)]
    [InlineData(RuleKind.MaskFifths)]
    [InlineData(RuleKind.Window)]
    [InlineData(RuleKind.Documents)]
    [InlineData(RuleKind.Sink)]
    public void The_judge_notices_that_a_rule_is_missing(RuleKind rule)
    {
        PipelineConfig config = Find(c => c.Rule == rule && c.Blocks && c.Content == TensorContent.Normal);
        PipelineResult result = Run(config, out PipelineCase inputs);
        Assert.Empty(inputs.Check(result));
        Assert.NotEmpty(new PipelineCase(config with { Rule = RuleKind.None }).Check(result));
    }

    [Fact]
    public void The_judge_notices_that_a_block_of_a_dense_head_is_missing()
    {
        PipelineConfig config = Find(c => c is { HasDenseHeads: true, BlockSelector: not BlockSelectorKind.None } && c.IsDense(0));
        PipelineResult result = Run(config, out PipelineCase inputs);
        result.Blocks!.Visit(0, 0, 0)[0] &= ~1UL;
        Assert.Contains(inputs.Check(result), failure => failure.Contains("leaves out key block 0", StringComparison.Ordinal));
    }

    [Fact]
    public void The_judge_notices_that_a_token_of_a_second_pair_is_missing()
    {
        var noticed = new HashSet<TokenBudgetKind>();
        foreach (PipelineConfig config in s_all.Where(c => c.Pruned && c.QueryLength == c.KeyLength && !c.VaryLengths))
        {
            PipelineResult result = Run(config, out PipelineCase inputs);
            // The first of what is kept, given up for nothing.
            result.Positions![0] = result.Positions[0][1..];
            IReadOnlyList<string> failures = inputs.Check(result);
            Assert.NotEmpty(failures);
            if (failures.Any(failure => failure.Contains("is dropped, whose score") || failure.Contains("are right")))
                noticed.Add(config.Budget);
        }
        Assert.InRange(noticed.Count, 3, 5);
    }

    public void Dispose()
    {
        foreach (CpuDevice device in _devices.Values)
            device.Dispose();
    }

    private static PipelineConfig Find(Func<PipelineConfig, bool> holds) =>
        PairConfigs.All(seed: 1, small: true).Concat(s_all).First(config => !config.VaryLengths && holds(config));

    private IEnumerable<string> Failures(PipelineConfig config)
    {
        PipelineResult result = Run(config, out PipelineCase inputs);
        return inputs.Check(result);
    }

    private PipelineResult Run(PipelineConfig config, out PipelineCase inputs)
    {
        if (!_devices.TryGetValue(config.Threads, out CpuDevice? device))
            _devices[config.Threads] = device = AttentionDevice.Cpu(config.Threads);
        using IAttentionPipeline pipeline = ReadyConfigs.Create(config, device);
        inputs = new PipelineCase(config);
        return inputs.Run(pipeline);
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
