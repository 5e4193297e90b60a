namespace AttnCompose.Conformance;

/// <summary>
/// Configurations of the pipelines that have every pair of what a declaration decides: of each pipeline eight, in which every two
/// properties of a call meet, and one kernel text.
/// </summary>
public static class PairConfigs
{
    /// <summary>Configurations of a pipeline.</summary>
    public const int PerPipeline = 8;

    private const long FewMultiplyAdds = 1L << 21, UsualMultiplyAdds = 1L << 24, ManyMultiplyAdds = 1L << 27;

    // Head dim, element type, float output: with wgmma and without.
    private static readonly (int HeadDim, ElementType Element, bool FloatOutput)[] s_kernels =
    [
        (64, ElementType.Float16, true), (128, ElementType.BFloat16, false), (80, ElementType.Float16, false),
        (128, ElementType.Float16, false), (64, ElementType.BFloat16, true), (40, ElementType.BFloat16, true),
        (96, ElementType.BFloat16, false),
    ];

    private static readonly (int HeadDim, ElementType Element, bool FloatOutput)[] s_kernelOf = AssignKernels();

    /// <summary>
    /// All of them. Of small ones, for tools that make kernels a hundred times slower, there are half: those in which lengths that
    /// vary, Lq &lt; Lk and keys gathered ahead still meet two by two.
    /// </summary>
    /// <param name="seed">Which.</param>
    /// <param name="small">Whether they are small ones.</param>
    public static IReadOnlyList<PipelineConfig> All(int seed, bool small = false)
    {
        int[] numbers = small ? [1, 2, 4, 7] : [.. Enumerable.Range(0, PerPipeline)];
        return [.. PairPipelines.All.SelectMany((_, i) => numbers.Select(number => Draw(i, number, seed, small)))];
    }

    /// <summary>The pipeline of a name.</summary>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static PipelineDescriptor Find(string name) =>
        PairPipelines.All.FirstOrDefault(pipeline => pipeline.Name == name)
        ?? throw new ArgumentException($"There is no pipeline '{name}'.", nameof(name));

    /// <summary>The pipeline of a configuration, given the span that its rules ask for.</summary>
    public static IAttentionPipeline Create(PipelineConfig config, AttentionDevice device)
    {
        ArgumentNullException.ThrowIfNull(config);
        IAttentionPipeline pipeline = OptionValues.Create(Find(config.Declaration), config, device);
        return pipeline is IDocumentPipeline document ? RulePipelines.Bind(document, config) : pipeline;
    }

    private static PipelineConfig Draw(int pipeline, int number, int seed, bool small)
    {
        PipelinePlan plan = PairPipelines.All[pipeline].Plan;
        var random = new Random(SeedOf(pipeline, number, seed));
        var kernel = s_kernelOf[pipeline];
        // An orthogonal array of strength two: in its eight runs every two columns have all four pairs of values.
        (bool a, bool b, bool c) = ((number & 1) != 0, (number & 2) != 0, (number & 4) != 0);
        (bool varies, bool isLater, bool gathersAhead) = (a, b, c);
        (bool isBatch, bool isGrouped, bool hasDense, bool isLong) = (a ^ b, a ^ c, b ^ c, a ^ b ^ c);
        PipelineConfig config = Declared(plan) with
        {
            Seed = SeedOf(pipeline, number, seed),
            Element = kernel.Element,
            FloatOutput = kernel.FloatOutput,
            HeadDim = kernel.HeadDim,
            Batch = isBatch ? 2 : 1,
            VaryLengths = varies,
            Layout = (TensorLayout)((pipeline + number) % 4),
            Threads = random.Next(1, 4),
            Coverage = PipelineConfig.Pick(random, 0.005, 0.1, 0.3, 0.3, 0.5, 0.7, 0.9),
            MinTokens = PipelineConfig.Pick(random, 0, 0, 1, 8, 64),
        };
        config = config with
        {
            KeyValueHeads = random.Next(1, 3),
            GatherHeads = config.Sparse && gathersAhead ? PipelineConfig.Pick(random, 1, 2, 1000) : 0,
            HasDenseHeads = config.BlockSelector != BlockSelectorKind.None && hasDense,
        };
        config = config with { QueryHeads = config.KeyValueHeads * (isGrouped ? random.Next(2, 5) : 1) };
        // Three blocks of keys and more beyond the selector's window, where that is not too much work.
        long pairs = (small ? FewMultiplyAdds : isLong ? ManyMultiplyAdds : UsualMultiplyAdds) / (2L * config.Batch * config.QueryHeads * config.HeadDim);
        int keyLength = Math.Max(config.Window + random.Next(40, 200), (int)Math.Sqrt(pairs) - random.Next(0, 70));
        int offset = random.Next(2) == 0 ? random.Next(1, keyLength) : Math.Min(keyLength - 1, 64 * random.Next(1, 4) + random.Next(-1, 2));
        (int query, int key) = isLater ? (keyLength - offset, keyLength) : (keyLength, keyLength);
        // Without a causal mask and a selection there may be more queries than keys; the first ones have no document then.
        if (config is { Mask: AttentionMask.Full, Sparse: false, Rule: not RuleKind.Documents } && random.Next(2) == 0)
            (query, key) = (key, query);
        config = config with { QueryLength = query, KeyLength = key, Count = config.Count > 0 ? random.Next(1, key + 8) : 0 };
        // The exact answer of one-hot scores is known where no rule moves them and each query is visited by its own key.
        bool isExact = config is { Rule: RuleKind.None } and not { Blocks: true, Sparse: true }
            && (config.Mask == AttentionMask.Causal || config.Sparse);
        return config with { Content = (TensorContent)((pipeline + 3 * number) % (isExact ? 6 : 5)) };
    }

    /// <summary>One kernel text for each pipeline, so that what is declared meets each element type, output and loop.</summary>
    private static (int HeadDim, ElementType Element, bool FloatOutput)[] AssignKernels()
    {
        var met = new HashSet<(object, object)>();
        var uses = new int[s_kernels.Length];
        return [.. PairPipelines.All.Select(pipeline =>
        {
            PipelineConfig c = Declared(pipeline.Plan);
            object[] declared =
            [
                (c.Sparse, c.Score, c.HasPair), (c.HasPair, c.Budget, c.Count > 0), c.Scope, (c.Blocks, c.BlockSelector),
                (c.BlockQuery, c.BlockKey), c.Rule, c.Mask,
            ];
            int best = Enumerable.Range(0, s_kernels.Length)
                .OrderByDescending(kernel => Meetings(kernel).Count(pair => !met.Contains(pair))).ThenBy(kernel => uses[kernel]).First();
            met.UnionWith(Meetings(best));
            uses[best]++;
            return s_kernels[best];

            IEnumerable<(object, object)> Meetings(int kernel)
            {
                (int dim, ElementType element, bool isFloat) = s_kernels[kernel];
                return declared.SelectMany(value => (IEnumerable<(object, object)>)
                    [(value, element), (value, ("float output", isFloat)), (value, ("wgmma", dim is 64 or 96 or 128))]);
            }
        })];
    }

    /// <summary>What the declaration says.</summary>
    private static PipelineConfig Declared(PipelinePlan plan)
    {
        StagePlan[] choosing = [.. plan.Stages.Where(stage => stage.Kind is StageKind.TokenScore or StageKind.TokenSelector)];
        StagePlan? selector = choosing.FirstOrDefault(), budget = selector?.Kind == StageKind.TokenScore ? choosing[1] : null;
        StagePlan? blocks = plan.Stages.FirstOrDefault(stage => stage.Kind == StageKind.BlockSelector);
        StagePlan kernel = plan.Stages.Single(stage => stage.Kind == StageKind.AttentionKernel);
        return new PipelineConfig
        {
            Declaration = plan.Name,
            Mask = plan.Mask,
            Rule = plan.Rules.Count == 0 ? RuleKind.None : Enum.Parse<RuleKind>(plan.Rules[0].Name),
            Sparse = selector is not null,
            Score = selector?.Name switch
            {
                "RandomTokens" => TokenScoreKind.Random,
                "Accumulated" => TokenScoreKind.Accumulated,
                _ => TokenScoreKind.Recent,
            },
            Budget = budget?.Name switch
            {
                null or "FixedCount" => TokenBudgetKind.Own,
                "FixedRatio" => TokenBudgetKind.Ratio,
                "DepthSchedule" => TokenBudgetKind.Depth,
                string name => Enum.Parse<TokenBudgetKind>(name),
            },
            Count = budget?.Name == "FixedCount" ? 1 : 0,
            Scope = (HeadScope)Constant(selector, "Heads", 0),
            Pruned = choosing.Count(stage => stage.Kind == StageKind.TokenSelector) > 1,
            Blocks = blocks?.Name == "GivenBlocks",
            BlockSelector = blocks?.Name switch
            {
                null or "GivenBlocks" => BlockSelectorKind.None,
                "StreamingBlocks" => BlockSelectorKind.Streaming,
                string name => Enum.Parse<BlockSelectorKind>(name),
            },
            BlockQuery = Constant(kernel, "BlockQuery", SelectorSettings.Block),
            BlockKey = Constant(kernel, "BlockKey", SelectorSettings.Block),
            Window = Constant(selector, "Window", 128),
            Pool = Constant(selector, "Pool", 1),
            RoundScores = Constant(selector, "RoundScoresToBFloat16", 0) != 0,
            // Of a call.
            Seed = 0, Element = default, FloatOutput = default, Batch = 1, QueryHeads = 1, KeyValueHeads = 1, QueryLength = 1,
            KeyLength = 1, HeadDim = 8, VaryLengths = default, Content = default, Layout = default, Threads = 1, Coverage = 0,
            MinTokens = 0,
        };
    }

    private static int Constant(StagePlan? stage, string name, int otherwise) =>
        (int)(stage?.Parameters.FirstOrDefault(parameter => parameter.IsConstant && parameter.Name == name)?.Value ?? otherwise);

    private static int SeedOf(int pipeline, int number, int seed) => unchecked(seed * 1_000_003 + pipeline * 1009 + number * 7) & int.MaxValue;
}
