using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>
/// Configurations of the ready pipelines, and the pipelines themselves. What a device compiles kernels for, (head dim,
/// element, output), comes from a short list, so that thousands of configurations need few compilations.
/// </summary>
public static class ReadyConfigs
{
    private const long UsualMultiplyAdds = 1L << 25;
    private const long MostMultiplyAdds = 1L << 29;
    private const long SmallMultiplyAdds = 1L << 21;

    /// <summary>
    /// (head dim, element, float output): every combination of types at 128, and each main loop and tile shape at two or one of
    /// them. Twelve texts of each pipeline.
    /// </summary>
    private static readonly (int HeadDim, ElementType Element, bool FloatOutput)[] s_kernels =
    [
        (64, ElementType.BFloat16, false), (64, ElementType.Float16, true),
        (128, ElementType.BFloat16, false), (128, ElementType.BFloat16, true),
        (128, ElementType.Float16, false), (128, ElementType.Float16, true),
        (32, ElementType.Float16, false), (40, ElementType.BFloat16, true),
        (96, ElementType.Float16, false), (96, ElementType.BFloat16, true),
        (192, ElementType.BFloat16, false), (256, ElementType.Float16, true),
    ];

    /// <summary>Those for which the pipelines of a token score and a token budget are compiled too.</summary>
    private static readonly (int HeadDim, ElementType Element, bool FloatOutput)[] s_fixedKernels =
        [(128, ElementType.BFloat16, false), (64, ElementType.Float16, true)];

    /// <summary>Those for which the pipeline with a block list is compiled too.</summary>
    private static readonly (int HeadDim, ElementType Element, bool FloatOutput)[] s_blockKernels =
    [
        (64, ElementType.BFloat16, false), (128, ElementType.BFloat16, false), (128, ElementType.Float16, true),
        (40, ElementType.BFloat16, true), (192, ElementType.BFloat16, false),
    ];

    /// <summary>
    /// Those for which the pipelines with a block selector are compiled too: the block selector alone, and after a token selection.
    /// </summary>
    private static readonly (int HeadDim, ElementType Element, bool FloatOutput)[] s_selectorKernels =
        [(64, ElementType.Float16, true), (128, ElementType.BFloat16, false)];

    /// <summary>
    /// Those for which dense attention is compiled in all shapes of tiles too; and those for which it is over gathered keys.
    /// </summary>
    private static readonly (int HeadDim, ElementType Element, bool FloatOutput)[] s_tiledKernels =
    [
        (64, ElementType.BFloat16, false), (96, ElementType.Float16, false), (128, ElementType.BFloat16, false),
        (192, ElementType.BFloat16, false), (256, ElementType.Float16, true),
    ];
    private static readonly (int HeadDim, ElementType Element, bool FloatOutput)[] s_gatheredTiledKernels =
        [(128, ElementType.BFloat16, false)];

    private static readonly int BlockSelectors = Enum.GetValues<BlockSelectorKind>().Length - 1; // all but None

    /// <summary>What the kernels of the configurations are compiled for.</summary>
    public static IReadOnlyList<KernelVariant> Variants { get; } = [.. s_kernels.Select(kernel =>
        new KernelVariant(kernel.HeadDim, kernel.Element, kernel.FloatOutput ? ElementType.Float32 : kernel.Element))];

    /// <summary>The configuration of a seed.</summary>
    public static PipelineConfig Random(int seed)
    {
        var random = new Random(seed);
        var kernel = s_kernels[random.Next(s_kernels.Length)];
        bool sparse = random.Next(4) != 0;
        bool blocks = s_blockKernels.Contains(kernel) && random.Next(3) == 0;
        sparse &= !blocks;
        bool selects = !blocks && s_selectorKernels.Contains(kernel) && random.Next(2) == 0;
        var selector = selects ? (BlockSelectorKind)random.Next(1, 1 + BlockSelectors) : BlockSelectorKind.None;
        sparse = selects ? kernel == s_selectorKernels[1] : sparse;
        bool isFixed = sparse && !selects && s_fixedKernels.Contains(kernel) && random.Next(2) == 0;
        bool isLong = random.Next(8) == 0;
        int keyLength = Length(random, sparse, isLong);
        int queryLength = random.Next(2) != 0 ? keyLength : Length(random, sparse, isLong);
        // Under the causal mask, Lk - Lq says which tiles of keys are whole: the edges of tiles, and their neighbours.
        int offset = PipelineConfig.Pick(random, 64, 80, 96, 128) * random.Next(1, 3) - random.Next(0, 3);
        if (queryLength != keyLength && random.Next(2) == 0 && offset < Math.Max(queryLength, keyLength))
            (queryLength, keyLength) = (Math.Max(queryLength, keyLength) - offset, Math.Max(queryLength, keyLength));
        int group = random.Next(1, 9);
        int keyValueHeads = PipelineConfig.Pick(random, 1, 1, 2, 3);
        var config = new PipelineConfig
        {
            Seed = seed,
            Element = kernel.Element,
            FloatOutput = kernel.FloatOutput,
            Batch = PipelineConfig.Pick(random, 1, 1, 2, 3),
            KeyValueHeads = keyValueHeads,
            QueryHeads = group * keyValueHeads,
            QueryLength = Math.Min(queryLength, keyLength),
            KeyLength = Math.Max(queryLength, keyLength),
            HeadDim = kernel.HeadDim,
            VaryLengths = random.Next(3) == 0,
            Content = (TensorContent)random.Next(6),
            Layout = (TensorLayout)random.Next(4),
            Threads = random.Next(1, 4),
            Sparse = sparse,
            Blocks = blocks,
            BlockSelector = selector,
            Coverage = PipelineConfig.Pick(random, 0, 1e-6, 0.005, 0.02, 0.1, 0.3, 0.3, 0.5, 0.7, 0.9, 1),
            MinTokens = PipelineConfig.Pick(random, 0, 0, 0, 1, 8, 64, 1024),
            GatherHeads = PipelineConfig.Pick(random, 0, 0, 1, 2, 5, 1000),
            Count = isFixed ? random.Next(1, Math.Max(queryLength, keyLength) + 8) : 0,
            // What the declarations fix.
            Mask = AttentionMask.Causal,
            Rule = RuleKind.None,
            Window = 128,
            Pool = 7,
            RoundScores = false,
        };
        config = RulePipelines.Draw(config.Within(isLong ? MostMultiplyAdds : UsualMultiplyAdds, anyHeadDim: false), random);
        // Half of those with a given count are of the pipelines whose score and budget are other stages.
        var pairs = new Random(seed ^ 0x2C07);
        config = config.Count > 0 && pairs.Next(2) == 0 ? TokenSettings.AsReady(config, pairs.Next(TokenSettings.Ready.Count)) : config;
        return DrawTile(config, new Random(seed ^ 0x711E));
    }

    /// <summary>
    /// Most that can be in another shape are, so that each shape comes up often enough; half of them end near the edges of its tiles.
    /// </summary>
    private static PipelineConfig DrawTile(PipelineConfig config, Random random)
    {
        bool isPlain = config is { Blocks: false, BlockSelector: BlockSelectorKind.None, Rule: RuleKind.None, HasPair: false };
        bool isGathered = config is { Sparse: true, GatherHeads: > 0 };
        var kernels = isGathered ? s_gatheredTiledKernels : config.Sparse ? [] : s_tiledKernels;
        IReadOnlyList<AttentionTile> tiles = AttentionTile.OthersFor(config.HeadDim);
        if (!isPlain || !kernels.Contains((config.HeadDim, config.Element, config.FloatOutput)) || random.Next(4) == 0)
            return config;
        AttentionTile tile = tiles[random.Next(tiles.Count)];
        config = config with { Tile = tile };
        if (config.Sparse || random.Next(2) == 0)
            return config;
        int keys = tile.Keys * random.Next(1, 4) + random.Next(-1, 2);
        config = config with { KeyLength = keys, QueryLength = Math.Min(config.QueryLength, keys) };
        return config.Within(MostMultiplyAdds, anyHeadDim: false);
    }

    /// <summary>Kernel texts: so many small configurations with numbers in a row have every kernel.</summary>
    public static int Texts =>
        2 * s_kernels.Length + s_fixedKernels.Length + s_blockKernels.Length + BlockSelectors * s_selectorKernels.Length
        + TokenSettings.Ready.Count * s_fixedKernels.Length + RuledTexts;

    /// <summary>Those with rules, of three pipelines: dense, beside a token selection, and mask rules alone. They are the last.</summary>
    private static int RuledTexts => 3 * RulePipelines.Kernels.Count;

    /// <summary>
    /// A small configuration for tools that make kernels a hundred times slower. Its number chooses the kernel text, and where it
    /// selects tokens, it selects some and not all.
    /// </summary>
    public static PipelineConfig Small(int number, int seed)
    {
        int text = number % Texts;
        if (text >= Texts - RuledTexts)
            return SmallRuled(number, text - (Texts - RuledTexts), seed);
        int pair = text - (Texts - RuledTexts - TokenSettings.Ready.Count * s_fixedKernels.Length);
        if (pair >= 0)
        {
            int first = 2 * s_kernels.Length;
            PipelineConfig counted = Small(number - text + first + pair % s_fixedKernels.Length, seed);
            return TokenSettings.AsReady(counted, pair / s_fixedKernels.Length);
        }
        int others = text - 2 * s_kernels.Length;
        int selected = others - s_fixedKernels.Length - s_blockKernels.Length; // kernel by kernel, each in all its pipelines
        bool selects = selected >= 0, blocks = others >= s_fixedKernels.Length && !selects;
        bool isFixed = others >= 0 && !blocks && !selects;
        bool sparse = selects ? selected >= BlockSelectors : text >= s_kernels.Length && !blocks;
        var kernel = selects ? s_selectorKernels[selected / BlockSelectors]
            : blocks ? s_blockKernels[others - s_fixedKernels.Length]
            : isFixed ? s_fixedKernels[others]
            : s_kernels[text % s_kernels.Length];
        PipelineConfig config = Small(kernel, sparse, gathersAhead: number / Texts % 2 != 0, seed);
        return config with
        {
            Blocks = blocks,
            BlockSelector = selects ? (BlockSelectorKind)(selected % BlockSelectors + 1) : BlockSelectorKind.None,
            Count = isFixed ? (config.Window + config.KeyLength) / 2 : 0,
        };
    }

    /// <summary>Rules take turns, since one text has them all.</summary>
    private static PipelineConfig SmallRuled(int number, int text, int seed)
    {
        RuleKind[] masks = [RuleKind.Window, RuleKind.Documents, RuleKind.MaskFifths];
        int round = number / Texts, rules = Enum.GetValues<RuleKind>().Length - 1;
        bool isMaskAlone = text % 3 == 2;
        PipelineConfig config = Small(RulePipelines.Kernels[text / 3], text % 3 == 1, gathersAhead: round % 2 != 0, seed);
        return config with
        {
            Seed = isMaskAlone ? seed & ~1 : seed | 1,
            Rule = isMaskAlone ? masks[round % masks.Length] : (RuleKind)((2 * round + text) % rules + 1),
            Content = config.Content == TensorContent.OneHot ? TensorContent.Normal : config.Content,
        };
    }

    private static PipelineConfig Small(
        (int HeadDim, ElementType Element, bool FloatOutput) kernel, bool sparse, bool gathersAhead, int seed)
    {
        PipelineConfig config = Random(seed).Within(SmallMultiplyAdds, anyHeadDim: false);
        // Halved until it was small, it may have lost its prefix.
        int keyLength = sparse && config.KeyLength < config.Window + 40 ? config.KeyLength + config.Window : config.KeyLength;
        return config with
        {
            Sparse = sparse, Blocks = false, BlockSelector = BlockSelectorKind.None, Rule = RuleKind.None, Count = 0,
            HeadDim = kernel.HeadDim, Element = kernel.Element, FloatOutput = kernel.FloatOutput,
            KeyLength = keyLength,
            Coverage = config.Coverage is > 0.01 and < 0.95 ? config.Coverage : 0.3,
            MinTokens = config.MinTokens % 64,
            GatherHeads = gathersAhead ? 2 : 0,
            Tile = null,
            Score = default, Budget = default, Scope = default, Pruned = false, Pool = 7,
        };
    }

    /// <summary>The pipeline of a configuration, and the device tuned for it.</summary>
    public static IAttentionPipeline Create(PipelineConfig config, AttentionDevice device)
    {
        if (device is CudaDevice cuda)
            cuda.Tuning = TuningOf(config);
        return CreateAlone(config, device);
    }

    /// <summary>The pipeline of a configuration; the device is left as it is.</summary>
    public static IAttentionPipeline CreateAlone(PipelineConfig config, AttentionDevice device) => config switch
    {
        { Declaration: not PipelineConfig.Ready } => PairConfigs.Create(config, device),
        { Rule: not RuleKind.None } => RulePipelines.Create(config, device),
        _ => OptionValues.Create(PipelineOf(config), config, device),
    };

    private static CudaTuning TuningOf(PipelineConfig config)
    {
        if (config.GatherHeads == 0)
            return new() { GatherLength = int.MaxValue, AttentionTile = config.Tile };
        var head = new WorkspaceLayout();
        new GatherTokensAttribute().DescribeWorkspace(new(1, 1, 1, config.QueryLength, config.KeyLength, config.HeadDim), head);
        return new() { GatherLength = 0, MaxWorkspace = config.GatherHeads * head.TotalBytes, AttentionTile = config.Tile };
    }

    /// <summary>The plan of the pipeline of a configuration.</summary>
    public static PipelinePlan PlanOf(PipelineConfig config) => config switch
    {
        { Declaration: not PipelineConfig.Ready } => PairConfigs.Find(config.Declaration).Plan,
        { Rule: not RuleKind.None } => RulePipelines.PlanOf(config),
        _ => PipelineOf(config).Plan,
    };

    private static PipelineDescriptor PipelineOf(PipelineConfig config) => config switch
    {
        { BlockSelector: not BlockSelectorKind.None } => SelectorSettings.PipelineOf(config),
        { Blocks: true } => Pipelines.BlockSparse.Descriptor,
        { Sparse: false } => Pipelines.DenseAttention.Descriptor,
        { HasPair: true } => TokenSettings.PipelineOf(config),
        _ => Pipelines.TokenSparsePrefill.Descriptor,
    };

    private static int Length(Random random, bool sparse, bool isLong)
    {
        if (isLong)
        {
            return random.Next(2) == 0
                ? random.Next(301, 2050)
                : 128 * random.Next(3, 17) + random.Next(-1, 2);
        }
        // Below the selector's window there is nothing to select.
        return PipelineConfig.Length(random) + (sparse && random.Next(2) == 0 ? 128 : 0);
    }
}
