namespace AttnCompose.Conformance;

/// <summary>Parameters of the token scores and budgets, drawn from the seed of a configuration; and the ready pairs of them.</summary>
public sealed record TokenSettings
{
    /// <summary>The parameters of a configuration.</summary>
    public TokenSettings(PipelineConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        var random = new Random(config.Seed ^ 0x70C3);
        P = random.Next(8) switch { 0 => 0, 1 => 1, 2 => 0.999, _ => random.NextDouble() };
        Ratio = random.Next(8) switch { 0 => 0, 1 => 1, _ => random.NextDouble() };
        DepthCount = random.Next(1, config.KeyLength + 200);
        Beta = PipelineConfig.Pick(random, 1, 2, 20, 20, 1000);
        Seed = random.Next();
        int layers = PipelineConfig.Pick(random, 1, 2, 7, 32);
        Layer = new(random.Next(layers), layers);
    }

    public double P { get; }
    public double Ratio { get; }
    public int DepthCount { get; }
    public int Beta { get; }
    public int Seed { get; }
    public LayerPosition Layer { get; }

    /// <summary>Whether each head has a number of tokens of its own.</summary>
    public static bool CountsDiffer(PipelineConfig config) => 
        config.Pruned || config is { Budget: TokenBudgetKind.TopP, Count: 0 };

    /// <summary>The same configuration, often with score and budget as stages of their own.</summary>
    public static PipelineConfig Draw(PipelineConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        var random = new Random(config.Seed ^ 0x50C7);
        if (!config.Sparse || random.Next(2) == 0)
            return config;
        TokenScoreKind score = PipelineConfig.Pick(
            random, TokenScoreKind.Recent, TokenScoreKind.Recent, TokenScoreKind.Random, TokenScoreKind.Accumulated);
        return config with
        {
            Score = score,
            Budget = config.Count > 0 ? TokenBudgetKind.Own : (TokenBudgetKind)random.Next(1, Enum.GetValues<TokenBudgetKind>().Length),
            Scope = config.Count > 0 || random.Next(2) == 0 ? (HeadScope)random.Next(Enum.GetValues<HeadScope>().Length) : default,
        };
    }

    /// <summary>
    /// The ready pipelines whose score and budget are stages of their own, and one whose score is a method: what their declarations fix.
    /// </summary>
    public static IReadOnlyList<(TokenScoreKind Score, TokenBudgetKind Budget, HeadScope Scope, bool Pruned)> Ready { get; } =
    [
        (TokenScoreKind.Recent, TokenBudgetKind.TopP, HeadScope.QueryHead, false),
        (TokenScoreKind.Recent, TokenBudgetKind.Depth, HeadScope.KeyValueHeadMean, false),
        (TokenScoreKind.Random, TokenBudgetKind.Ratio, HeadScope.QueryHead, false),
        (TokenScoreKind.Accumulated, TokenBudgetKind.Own, HeadScope.QueryHead, false),
        (TokenScoreKind.Recent, TokenBudgetKind.Ratio, HeadScope.KeyValueHeadMax, true),
        (TokenScoreKind.Rule, TokenBudgetKind.TopP, HeadScope.QueryHead, false),
    ];

    /// <summary>The configuration as a ready pipeline declares it.</summary>
    public static PipelineConfig AsReady(PipelineConfig config, int pair)
    {
        ArgumentNullException.ThrowIfNull(config);
        (TokenScoreKind score, TokenBudgetKind budget, HeadScope scope, bool pruned) = Ready[pair];
        bool counts = budget == TokenBudgetKind.Own;
        return config with
        {
            Count = counts ? Math.Max(1, config.Count) : 0, Score = score, Budget = budget, Scope = scope, Pruned = pruned,
            Pool = PoolOf(score),
        };
    }

    /// <summary>The ready pipeline of a configuration that selects tokens by a score and a budget.</summary>
    public static PipelineDescriptor PipelineOf(PipelineConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return config switch
        {
            { Pruned: true } => Pipelines.TokenSparseTwilight.Descriptor,
            { Budget: TokenBudgetKind.Own, Score: TokenScoreKind.Accumulated } => Pipelines.TokenSparseAccumulated.Descriptor,
            { Budget: TokenBudgetKind.Own } => Pipelines.TokenSparseFixed.Descriptor,
            { Score: TokenScoreKind.Rule } => TokenRuled.Descriptor,
            { Budget: TokenBudgetKind.TopP } => Pipelines.TokenSparseTopP.Descriptor,
            { Budget: TokenBudgetKind.Depth } => Pipelines.TokenSparsePyramid.Descriptor,
            { Budget: TokenBudgetKind.Ratio } => Pipelines.TokenSparseRandom.Descriptor,
            _ => throw new ArgumentException($"No ready pipeline has the budget {config.Budget}.", nameof(config)),
        };
    }

    /// <summary>Score and budget as stages, paired.</summary>
    public RankedBudgetAttribute Pair(PipelineConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        TokenScoreAttribute score = config.Score switch
        {
            TokenScoreKind.Random => new RandomTokensAttribute { Seed = Seed },
            TokenScoreKind.Accumulated => new AccumulatedAttribute(),
            TokenScoreKind.Rule => new TokenScoreRuleAttribute(),
            _ => new RecentQueriesAttribute(),
        };
        (score.Window, score.Pool, score.Heads) = (config.Window, config.Pool, config.Scope);
        score.RoundScoresToBFloat16 = config.RoundScores;
        RankedBudgetAttribute budget = config switch
        {
            { Count: > 0 } => new FixedCountAttribute { Count = config.Count },
            { Budget: TokenBudgetKind.TopP } => new TopPAttribute { P = P, MinTokens = config.MinTokens },
            { Budget: TokenBudgetKind.Ratio } => new FixedRatioAttribute { Ratio = Ratio },
            { Budget: TokenBudgetKind.Depth } => new DepthScheduleAttribute { Count = DepthCount, Beta = Beta },
            _ => new CoverageAttribute { Coverage = config.Coverage, MinTokens = config.MinTokens },
        };
        budget.Of(score);
        return budget;
    }

    /// <summary>The pair that prunes the choice of the first.</summary>
    public RankedBudgetAttribute Pruning(PipelineConfig config, TokenSelectorAttribute first)
    {
        ArgumentNullException.ThrowIfNull(config);
        var budget = new TopPAttribute { P = P, MinTokens = config.MinTokens };
        budget.Of(new RecentQueriesAttribute { Window = config.Window, Pool = 1 }, first);
        return budget;
    }

    /// <summary>
    /// What is wrong with a choice that was pruned, when each score is known up to an error: it holds tokens that the first choice
    /// cannot have kept, or not the highest of those that it must have kept, or another number of them than hold the share.
    /// </summary>
    /// <param name="config">The configuration.</param>
    /// <param name="coarse">[heads][prefix], the truth, by which the first pair ranks.</param>
    /// <param name="raw">[heads][prefix], by which the second one does.</param>
    /// <param name="positions">[heads], what was kept.</param>
    /// <param name="keyLength">Tokens of the sequence.</param>
    /// <param name="relative">Relative error.</param>
    /// <param name="absolute">Absolute error.</param>
    public IEnumerable<string> PruningFailures(
        PipelineConfig config, double[][] coarse, double[][] raw, int[][] positions, int keyLength, double relative, double absolute)
    {
        ArgumentNullException.ThrowIfNull(config);
        int prefix = raw[0].Length;
        double[] mean = SelectionOracle.Mean(coarse);
        for (int head = 0; head < raw.Length; head++)
        {
            (int least, int first) = KeptRange(config, coarse[head], mean, keyLength, relative, absolute);
            double[] ranked = [.. coarse[head].OrderDescending()];
            double low = first == 0 ? double.PositiveInfinity : ranked[first - 1] - 2 * (relative * ranked[first - 1] + absolute);
            double high = least == 0 ? double.PositiveInfinity : ranked[least - 1] + 2 * (relative * ranked[least - 1] + absolute);
            bool[] may = [.. coarse[head].Select(score => first == prefix || score >= low)];
            bool[] must = [.. coarse[head].Select(score => least == prefix || score > high)];
            HashSet<int> kept = [.. positions[head].Where(t => t < prefix)];
            if (kept.Any(t => !may[t]) || kept.Count > first)
                yield return $"head {head}: keeps tokens that the first choice, {first} of {prefix} at most, did not";
            double lowest = kept.Count == 0 ? double.PositiveInfinity : kept.Min(t => raw[head][t]);
            for (int t = 0; t < prefix; t++)
            {
                if (must[t] && !kept.Contains(t) && raw[head][t] > lowest + 4 * (relative * raw[head][t] + absolute))
                    yield return $"head {head}: token {t} is dropped, whose score {raw[head][t]} is above the {lowest} of one kept";
            }
            if (least != first || may.Count(possible => possible) != first)
                continue; // ties, or a share: which tokens the first choice kept is not known
            double[] candidates = [.. raw[head].Where((_, t) => may[t])];
            double unit = candidates.DefaultIfEmpty().Max() / (1L << 39);
            (int fewest, int most) = SelectionOracle.FewestHoldingRange(candidates, P, config.MinTokens, relative, absolute + unit);
            if (kept.Count < fewest || kept.Count > most)
                yield return $"head {head}: keeps {kept.Count} of {first}, between {fewest} and {most} are right";
        }
    }

    /// <summary>How many tokens of its prefix a head may keep, when each score is known up to an error.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="scores">What the head ranks by.</param>
    /// <param name="mean">Mean of that over the heads.</param>
    /// <param name="keyLength">Tokens of the sequence.</param>
    /// <param name="relative">Relative error.</param>
    /// <param name="absolute">Absolute error.</param>
    public (int Least, int Most) KeptRange(
        PipelineConfig config, double[] scores, double[] mean, int keyLength, double relative, double absolute)
    {
        ArgumentNullException.ThrowIfNull(config);
        // The masses are whole multiples of 2^-39 of the largest score's power of two.
        const double unit = 1.0 / (1L << 39);
        double last = Math.Max(1, Math.Floor((double)DepthCount / Beta));
        double share = Layer.Count > 1 ? (double)Layer.Index / (Layer.Count - 1) : 0;
        return config switch
        {
            { Count: > 0 } => Exactly(config.Count),
            { Budget: TokenBudgetKind.TopP } => SelectionOracle.FewestHoldingRange(
                scores, P, config.MinTokens, relative, absolute + unit * scores.Max()),
            { Budget: TokenBudgetKind.Ratio } => Exactly((int)Math.Ceiling(Ratio * keyLength)),
            { Budget: TokenBudgetKind.Depth } when Layer.Count == 1 => Exactly(DepthCount),
            { Budget: TokenBudgetKind.Depth } => Exactly(
                (int)(2 * DepthCount - last - Math.Floor((2 * DepthCount - 2 * last) * share + 1e-9))),
            _ => SelectionOracle.KeptPrefixRange(
                mean, config.Coverage, config.MinTokens, relative, absolute + unit * mean.Max()),
        };

        (int, int) Exactly(int count)
        {
            int kept = Math.Clamp(count - config.Window, 0, mean.Length);
            return (kept, kept);
        }
    }

    private static int PoolOf(TokenScoreKind score) => score == TokenScoreKind.Recent ? 7 : 1;
}
