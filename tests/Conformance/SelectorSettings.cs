namespace AttnCompose.Conformance;

/// <summary>Parameters of the block selectors, drawn from the seed of a configuration.</summary>
public sealed record SelectorSettings
{
    /// <summary>Last queries of [VerticalSlash], which its declaration fixes.</summary>
    public const int LastQueries = 64;

    /// <summary>Stride of [AntiDiagonal], which its declaration fixes.</summary>
    public const int Stride = 16;

    /// <summary>Size of a block, which the declarations fix.</summary>
    public const int Block = 128;

    /// <summary>The parameters of a configuration.</summary>
    public SelectorSettings(PipelineConfig config)
    {
        var random = new Random(config.Seed ^ 0xB10C);
        Sink = random.Next(0, 300);
        Local = random.Next(1, 600);
        VerticalSize = random.Next(0, 400);
        SlashSize = random.Next(0, 400);
        ForcedVertical = random.Next(0, 40);
        ForcedSlash = random.Next(1, 120);
        Gamma = random.Next(6) switch { 0 => 0, 1 => 1, _ => random.NextDouble() };
        Tau = random.Next(4) switch { 0 => 0, 1 => 1, _ => 0.4 * random.NextDouble() };
        MinBudget = PipelineConfig.Pick(random, 0, 0, 100, 300, 1024);
        Threshold = random.Next(6) switch { 0 => 0, 1 => 1, _ => random.NextDouble() };
        TopK = random.Next(0, 8);
        MapTau = random.Next(6) switch { 0 => 0, 1 => 1, _ => random.NextDouble() };
        // From blocks that are all trusted to none; unrelated rows of a block of n have a similarity near 1 / n.
        Theta = PipelineConfig.Pick(random, -1, 0, 0.005, 0.02, 0.3, 1);
        GateCount = random.Next(2) == 0 ? 0 : random.Next(1, 8);
        GateThreshold = random.Next(6) switch { 0 => 0, 1 => 1, _ => 0.4 * random.NextDouble() };
    }

    public int Sink { get; }
    public int Local { get; }
    public int VerticalSize { get; }
    public int SlashSize { get; }
    public int ForcedVertical { get; }
    public int ForcedSlash { get; }
    public double Gamma { get; }
    public double Tau { get; }
    public int MinBudget { get; }
    public double Threshold { get; }
    public int TopK { get; }
    public double MapTau { get; }
    public double Theta { get; }
    public int GateCount { get; }
    public double GateThreshold { get; }

    /// <summary>The pipeline of a configuration with a block selector.</summary>
    public static IAttentionPipeline Create(PipelineConfig config, AttentionDevice device)
    {
        var s = new SelectorSettings(config);
        (double coverage, int min) = (config.Coverage, config.MinTokens);
        return (config.BlockSelector, config.Sparse) switch
        {
            (BlockSelectorKind.Streaming, false) => Pipelines.Streaming.Create(device, new() { Sink = s.Sink, Local = s.Local }),
            (BlockSelectorKind.Streaming, true) => Pipelines.TokenSparseStreaming.Create(
                device, new() { Coverage = coverage, MinTokens = min, Sink = s.Sink, Local = s.Local }),
            (BlockSelectorKind.VerticalSlash, false) => Pipelines.VerticalSlash.Create(
                device, new()
                {
                    VerticalSize = s.VerticalSize, SlashSize = s.SlashSize,
                    ForcedVertical = s.ForcedVertical, ForcedSlash = s.ForcedSlash,
                }),
            (BlockSelectorKind.VerticalSlash, true) => Pipelines.TokenSparseVerticalSlash.Create(
                device, new()
                {
                    Coverage = coverage, MinTokens = min, VerticalSize = s.VerticalSize, SlashSize = s.SlashSize,
                    ForcedVertical = s.ForcedVertical, ForcedSlash = s.ForcedSlash,
                }),
            (BlockSelectorKind.FlexPrefill, false) => Pipelines.Flexprefill.Create(
                device, new() { Gamma = s.Gamma, Tau = s.Tau, MinBudget = s.MinBudget }),
            (BlockSelectorKind.FlexPrefill, true) => Pipelines.TokenSparseFlexprefill.Create(
                device, new() { Coverage = coverage, MinTokens = min, Gamma = s.Gamma, Tau = s.Tau, MinBudget = s.MinBudget }),
            (BlockSelectorKind.AntiDiagonal, false) => Pipelines.Antidiagonal.Create(device, new() { Threshold = s.Threshold }),
            (BlockSelectorKind.AntiDiagonal, true) => Pipelines.TokenSparseAntidiagonal.Create(
                device, new() { Coverage = coverage, MinTokens = min, Threshold = s.Threshold }),
            (BlockSelectorKind.PooledTopK, false) => Pipelines.PooledTopK.Create(device, new() { TopK = s.TopK }),
            (BlockSelectorKind.PooledTopK, true) => Pipelines.TokenSparsePooledTopK.Create(
                device, new() { Coverage = coverage, MinTokens = min, TopK = s.TopK }),
            (BlockSelectorKind.PooledCoverage, false) => Pipelines.PooledCoverage.Create(
                device, new() { Tau = s.MapTau, Theta = s.Theta }),
            (BlockSelectorKind.PooledCoverage, true) => Pipelines.TokenSparsePooledCoverage.Create(
                device, new() { Coverage = coverage, MinTokens = min, Tau = s.MapTau, Theta = s.Theta }),
            (BlockSelectorKind.GateWeights, false) => Pipelines.GateWeights.Create(
                device, new() { Count = s.GateCount, Threshold = s.GateThreshold }),
            (BlockSelectorKind.GateWeights, true) => Pipelines.TokenSparseGateWeights.Create(
                device, new() { Coverage = coverage, MinTokens = min, Count = s.GateCount, Threshold = s.GateThreshold }),
            _ => throw new ArgumentException($"{config.BlockSelector} chooses no blocks.", nameof(config)),
        };
    }

    /// <summary>The plan of that pipeline.</summary>
    public static PipelinePlan PlanOf(PipelineConfig config) => (config.BlockSelector, config.Sparse) switch
    {
        (BlockSelectorKind.Streaming, false) => Pipelines.Streaming.Plan,
        (BlockSelectorKind.Streaming, true) => Pipelines.TokenSparseStreaming.Plan,
        (BlockSelectorKind.VerticalSlash, false) => Pipelines.VerticalSlash.Plan,
        (BlockSelectorKind.VerticalSlash, true) => Pipelines.TokenSparseVerticalSlash.Plan,
        (BlockSelectorKind.FlexPrefill, false) => Pipelines.Flexprefill.Plan,
        (BlockSelectorKind.FlexPrefill, true) => Pipelines.TokenSparseFlexprefill.Plan,
        (BlockSelectorKind.AntiDiagonal, false) => Pipelines.Antidiagonal.Plan,
        (BlockSelectorKind.AntiDiagonal, true) => Pipelines.TokenSparseAntidiagonal.Plan,
        (BlockSelectorKind.PooledTopK, false) => Pipelines.PooledTopK.Plan,
        (BlockSelectorKind.PooledTopK, true) => Pipelines.TokenSparsePooledTopK.Plan,
        (BlockSelectorKind.PooledCoverage, false) => Pipelines.PooledCoverage.Plan,
        (BlockSelectorKind.PooledCoverage, true) => Pipelines.TokenSparsePooledCoverage.Plan,
        (BlockSelectorKind.GateWeights, false) => Pipelines.GateWeights.Plan,
        (BlockSelectorKind.GateWeights, true) => Pipelines.TokenSparseGateWeights.Plan,
        _ => throw new ArgumentException($"{config.BlockSelector} chooses no blocks.", nameof(config)),
    };

    /// <summary>What must be chosen of a head, and what may; null where float32 leaves it open.</summary>
    public BlockChoiceBand? Expected(BlockSelectorKind selector, BlockHead head) => selector switch
    {
        BlockSelectorKind.Streaming => Exactly(BlockSelectionOracle.Streaming(head, Sink, Local)),
        BlockSelectorKind.VerticalSlash => BlockSelectionOracle.VerticalSlash(
            head, LastQueries, VerticalSize, SlashSize, ForcedVertical, ForcedSlash),
        BlockSelectorKind.AntiDiagonal => BlockSelectionOracle.AntiDiagonal(head, Stride, Threshold),
        BlockSelectorKind.PooledTopK => BlockSelectionOracle.PooledTopK(head, TopK),
        BlockSelectorKind.PooledCoverage => BlockSelectionOracle.PooledCoverage(head, MapTau, Theta),
        BlockSelectorKind.GateWeights => BlockSelectionOracle.GateWeights(head, GateCount, GateThreshold),
        _ => BlockSelectionOracle.FlexPrefill(head, Gamma, Tau, MinBudget),
    };

    private static BlockChoiceBand Exactly(bool[,] visits) => new() { Must = visits, May = visits };
}
