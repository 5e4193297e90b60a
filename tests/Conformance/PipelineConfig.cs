using System.Globalization;
using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>What the random tensors of a configuration look like.</summary>
public enum TensorContent
{
    /// <summary>Independent standard normal elements.</summary>
    Normal,

    /// <summary>Large scores: attention is close to one-hot.</summary>
    Peaked,

    /// <summary>Keys repeat, so many scores are equal.</summary>
    Ties,

    /// <summary>Small integers.</summary>
    Integers,

    /// <summary>The first keys draw most attention, the rest is flat.</summary>
    Sink,

    /// <summary>
    /// Every query finds one key, its own, and values are small integers, so each output row is a value row, exactly: for
    /// gather, scatter and masks. The queries of the selector's window find other keys, so that there is something to select.
    /// </summary>
    OneHot,
}

/// <summary>How tensors lie in memory.</summary>
public enum TensorLayout
{
    /// <summary>[batch, heads, length, dim], contiguous.</summary>
    Bhld,

    /// <summary>[batch, length, heads, dim], contiguous.</summary>
    Blhd,

    /// <summary>[batch, heads, length, dim] with gaps between rows.</summary>
    Padded,

    /// <summary>Query, key and value as views of one projection, [batch, length, (query, key, value) heads, dim].</summary>
    Fused,
}

/// <summary>The block selector of a configuration.</summary>
public enum BlockSelectorKind
{
    /// <summary>None that chooses.</summary>
    None,

    /// <summary>[StreamingBlocks].</summary>
    Streaming,

    /// <summary>[VerticalSlash].</summary>
    VerticalSlash,

    /// <summary>[FlexPrefill].</summary>
    FlexPrefill,

    /// <summary>[AntiDiagonal].</summary>
    AntiDiagonal,

    /// <summary>[PooledTopK].</summary>
    PooledTopK,

    /// <summary>[PooledCoverage].</summary>
    PooledCoverage,

    /// <summary>[GateWeights].</summary>
    GateWeights,
}

/// <summary>The token score of a configuration.</summary>
public enum TokenScoreKind
{
    /// <summary>[RecentQueries].</summary>
    Recent,

    /// <summary>[RandomTokens].</summary>
    Random,

    /// <summary>[Accumulated].</summary>
    Accumulated,

    /// <summary>A method in C#.</summary>
    Rule,
}

/// <summary>The token budget of a configuration.</summary>
public enum TokenBudgetKind
{
    /// <summary>[TokenCoverage], score and budget in one; or [FixedCount] where there is a count.</summary>
    Own,

    /// <summary>[Coverage].</summary>
    Coverage,

    /// <summary>[TopP].</summary>
    TopP,

    /// <summary>[FixedRatio].</summary>
    Ratio,

    /// <summary>[DepthSchedule].</summary>
    Depth,
}

/// <summary>The score rule of a configuration.</summary>
public enum RuleKind
{
    /// <summary>None.</summary>
    None,

    /// <summary>A penalty that grows with distance.</summary>
    Distance,

    /// <summary>Every fifth key is masked.</summary>
    MaskFifths,

    /// <summary>Scores approach a bound.</summary>
    SoftCap,

    /// <summary>A query sees the last keys alone.</summary>
    Window,

    /// <summary>A query sees the keys of its document, which a span tells.</summary>
    Documents,

    /// <summary>The denominator of each head has a logit beside the scores.</summary>
    Sink,
}

/// <summary>
/// One configuration of a pipeline and its inputs, all of it drawn from a seed. Its text is one line that
/// <see cref="Parse"/> reads back, so a failure can be replayed.
/// </summary>
public sealed record PipelineConfig
{
    /// <summary>That the pipeline is a ready one, or the one with rules of many kinds.</summary>
    public const string Ready = "ready";

    private const string DefaultTile = "default";

    /// <summary>Most multiply-adds of one configuration.</summary>
    public const long MaxMultiplyAdds = 1L << 26;

    public required int Seed { get; init; }

    /// <summary>
    /// Name of the pipeline among those of <see cref="PairConfigs"/>; <see cref="Ready"/> where what is selected names the pipeline.
    /// </summary>
    public string Declaration { get; init; } = Ready;

    public required ElementType Element { get; init; }
    public required bool FloatOutput { get; init; }
    public required int Batch { get; init; }
    public required int QueryHeads { get; init; }
    public required int KeyValueHeads { get; init; }
    public required int QueryLength { get; init; }
    public required int KeyLength { get; init; }
    public required int HeadDim { get; init; }
    public required AttentionMask Mask { get; init; }
    public required bool VaryLengths { get; init; }
    public required TensorContent Content { get; init; }
    public required TensorLayout Layout { get; init; }
    public required RuleKind Rule { get; init; }
    public required int Threads { get; init; }

    /// <summary>Whether tokens are selected; where not, the selector's parameters mean nothing.</summary>
    public required bool Sparse { get; init; }

    /// <summary>Whether attention visits the blocks of a list, drawn from the seed.</summary>
    public bool Blocks { get; init; }

    /// <summary>What chooses key blocks, after a token selection or alone; its parameters follow from the seed.</summary>
    public BlockSelectorKind BlockSelector { get; init; }

    /// <summary>Queries of a block.</summary>
    public int BlockQuery { get; init; } = SelectorSettings.Block;

    /// <summary>Keys of a block.</summary>
    public int BlockKey { get; init; } = SelectorSettings.Block;

    /// <summary>Whether the block selector leaves every third query head dense.</summary>
    public bool HasDenseHeads { get; init; }

    public required double Coverage { get; init; }

    /// <summary>Tokens that each head keeps, the window among them; 0 where <see cref="Coverage"/> is the budget.</summary>
    public int Count { get; init; }

    /// <summary>What scores tokens, where score and budget are stages of their own.</summary>
    public TokenScoreKind Score { get; init; }

    /// <summary>How many tokens are kept; parameters other than those here follow from the seed.</summary>
    public TokenBudgetKind Budget { get; init; }

    /// <summary>Which heads rank tokens together.</summary>
    public HeadScope Scope { get; init; }

    /// <summary>Whether a second pair, [RecentQueries(Pool = 1)] [TopP], prunes what is chosen.</summary>
    public bool Pruned { get; init; }

    /// <summary>
    /// Query heads whose keys and values a device gathers ahead of the attention loop at a time; 0 where it does not.
    /// </summary>
    public int GatherHeads { get; init; }

    /// <summary>Shape of the tiles of a device's attention loop; null where it is the default.</summary>
    public AttentionTile? Tile { get; init; }

    public required int Window { get; init; }
    public required int Pool { get; init; }
    public required int MinTokens { get; init; }
    public required bool RoundScores { get; init; }

    /// <summary>Multiply-adds of dense attention over the whole shape.</summary>
    public long MultiplyAdds => 2L * Batch * QueryHeads * QueryLength * KeyLength * HeadDim;

    /// <summary>Whether a token score and a token budget are stages of their own.</summary>
    public bool HasPair => Sparse && (Count > 0 || Budget != TokenBudgetKind.Own);

    /// <summary>The heads that the block selector leaves dense.</summary>
    public HeadSet DenseHeads =>
        HasDenseHeads ? new([.. Enumerable.Range(0, QueryHeads).Where(IsDense)]) : default;

    /// <summary>Where the calls stand in a model.</summary>
    public LayerPosition Layer => new TokenSettings(this).Layer;

    /// <summary>Whether a query head is one of <see cref="DenseHeads"/>.</summary>
    public bool IsDense(int head) => HasDenseHeads && (head + (uint)Seed) % 3 == 0;

    /// <summary>The token selector, its score and budget paired; where there are two, the first.</summary>
    public TokenSelectorAttribute Selector() => HasPair
        ? new TokenSettings(this).Pair(this)
        : new TokenCoverageAttribute
        {
            Coverage = Coverage, MinTokens = MinTokens, Window = Window, Pool = Pool, RoundScoresToBFloat16 = RoundScores,
        };

    /// <summary>The configuration of a seed.</summary>
    public static PipelineConfig Random(int seed)
    {
        var random = new Random(seed);
        bool sparse = random.Next(4) != 0;
        AttentionMask mask = random.Next(5) == 0 ? AttentionMask.Full : AttentionMask.Causal;
        int keyLength = Length(random);
        int queryLength = random.Next(3) != 0 ? keyLength : Length(random);
        if (queryLength > keyLength && (sparse || mask == AttentionMask.Causal))
            (queryLength, keyLength) = (keyLength, queryLength);
        int group = Pick(random, 1, 1, 2, 3, 4, 8);
        var config = new PipelineConfig
        {
            Seed = seed,
            Element = Pick(random, ElementType.Float32, ElementType.Float16, ElementType.BFloat16),
            FloatOutput = random.Next(2) == 0,
            Batch = Pick(random, 1, 1, 2, 3),
            KeyValueHeads = Pick(random, 1, 1, 2, 3),
            QueryHeads = group,
            QueryLength = queryLength,
            KeyLength = keyLength,
            HeadDim = Pick(random, 32, 32, 64, 64, 128, 128, 40, 80, 96, 160, 192, 256),
            Mask = mask,
            VaryLengths = random.Next(3) == 0,
            Content = (TensorContent)random.Next(5),
            Layout = (TensorLayout)random.Next(3),
            Rule = random.Next(5) == 0 ? (RuleKind)random.Next(1, 3) : RuleKind.None,
            Threads = random.Next(1, 4),
            Sparse = sparse,
            Coverage = Pick(random, 0, 1e-6, 0.005, 0.02, 0.1, 0.3, 0.3, 0.5, 0.7, 0.9, 1),
            Window = Pick(random, 1, 2, 5, 16, 32, 64, 128),
            Pool = Pick(random, 1, 3, 7, 7, 15),
            MinTokens = Pick(random, 0, 0, 1, 8, 64, 10_000),
            RoundScores = random.Next(8) == 0,
            Count = random.Next(4) == 0 ? random.Next(1, keyLength + 8) : 0,
        };
        config = TokenSettings.Draw(config with { QueryHeads = group * config.KeyValueHeads });
        return config.Within(random.Next(64) == 0 ? MaxMultiplyAdds : MaxMultiplyAdds >> 5);
    }

    /// <summary>A smaller configuration of the same kind that needs no more than a number of multiply-adds.</summary>
    internal PipelineConfig Within(long multiplyAdds, bool anyHeadDim = true)
    {
        PipelineConfig config = this;
        while (config.MultiplyAdds > multiplyAdds)
        {
            int group = config.QueryHeads / config.KeyValueHeads;
            config = config.Batch > 1 ? config with { Batch = config.Batch - 1 }
                : config.KeyValueHeads > 1 ? config with { KeyValueHeads = 1, QueryHeads = group }
                : anyHeadDim && config.HeadDim > 64 ? config with { HeadDim = 64 }
                : group > 1 ? config with { QueryHeads = group / 2 }
                : config with { QueryLength = (config.QueryLength + 1) / 2, KeyLength = (config.KeyLength + 1) / 2 };
        }
        return config;
    }

    internal static int Length(Random random)
    {
        int edge = Pick(random, 16, 48, 64, 128, 192, 240, 256) * random.Next(1, 3);
        return random.Next(3) switch
        {
            0 => Math.Max(1, edge + random.Next(-1, 2)),
            1 => 2 * random.Next(0, 150) + 1,
            _ => random.Next(1, 301),
        };
    }

    internal static T Pick<T>(Random random, params ReadOnlySpan<T> choices) => choices[random.Next(choices.Length)];

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"seed={Seed} pipeline={Declaration} element={Element} floatout={FloatOutput} b={Batch} hq={QueryHeads} hkv={KeyValueHeads} " +
        $"lq={QueryLength} lk={KeyLength} d={HeadDim} mask={Mask} vary={VaryLengths} content={Content} layout={Layout} " +
        $"rule={Rule} threads={Threads} sparse={Sparse} blocks={Blocks} selector={BlockSelector} bq={BlockQuery} " +
        $"bk={BlockKey} denseheads={HasDenseHeads} coverage={Coverage:R} count={Count} score={Score} budget={Budget} scope={Scope} " +
        $"pruned={Pruned} gather={GatherHeads} tile={Tile?.ToString() ?? DefaultTile} window={Window} pool={Pool} min={MinTokens} " +
        $"round={RoundScores}");

    /// <summary>Whether the configuration has values, written as in its line: <c>d=64 sparse=True</c>.</summary>
    /// <exception cref="FormatException">A part is none of a configuration.</exception>
    public bool Has(string values)
    {
        string[] own = ToString().Split(' ');
        string[] wanted = values.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        foreach (string part in wanted)
        {
            string name = part[..(part.IndexOf('=') + 1)];
            if (name.Length == 0 || !own.Any(value => value.StartsWith(name, StringComparison.Ordinal)))
                throw new FormatException($"'{part}' is not one name=value of a configuration.");
        }
        return wanted.All(part => own.Contains(part));
    }

    /// <summary>Reads the line that <see cref="ToString"/> writes.</summary>
    /// <exception cref="FormatException">A part is missing or malformed.</exception>
    public static PipelineConfig Parse(string line)
    {
        var parts = new Dictionary<string, string>();
        foreach (string part in line.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            int equals = part.IndexOf('=');
            if (equals < 1 || !parts.TryAdd(part[..equals], part[(equals + 1)..]))
                throw new FormatException($"'{part}' is not one name=value of a configuration.");
        }
        return new PipelineConfig
        {
            Seed = Integer("seed"),
            Declaration = Text("pipeline", Ready),
            Element = Enum.Parse<ElementType>(Text("element")),
            FloatOutput = bool.Parse(Text("floatout")),
            Batch = Integer("b"),
            QueryHeads = Integer("hq"),
            KeyValueHeads = Integer("hkv"),
            QueryLength = Integer("lq"),
            KeyLength = Integer("lk"),
            HeadDim = Integer("d"),
            Mask = Enum.Parse<AttentionMask>(Text("mask")),
            VaryLengths = bool.Parse(Text("vary")),
            Content = Enum.Parse<TensorContent>(Text("content")),
            Layout = Enum.Parse<TensorLayout>(Text("layout")),
            Rule = Enum.Parse<RuleKind>(Text("rule")),
            Threads = Integer("threads"),
            Sparse = bool.Parse(Text("sparse")),
            Blocks = bool.Parse(Text("blocks", "False")),
            BlockSelector = Enum.Parse<BlockSelectorKind>(Text("selector", nameof(BlockSelectorKind.None))),
            BlockQuery = int.Parse(Text("bq", "128"), CultureInfo.InvariantCulture),
            BlockKey = int.Parse(Text("bk", "128"), CultureInfo.InvariantCulture),
            HasDenseHeads = bool.Parse(Text("denseheads", "False")),
            Coverage = double.Parse(Text("coverage"), CultureInfo.InvariantCulture),
            Count = int.Parse(Text("count", "0"), CultureInfo.InvariantCulture),
            Score = Enum.Parse<TokenScoreKind>(Text("score", nameof(TokenScoreKind.Recent))),
            Budget = Enum.Parse<TokenBudgetKind>(Text("budget", nameof(TokenBudgetKind.Own))),
            Scope = Enum.Parse<HeadScope>(Text("scope", nameof(HeadScope.QueryHead))),
            Pruned = bool.Parse(Text("pruned", "False")),
            GatherHeads = int.Parse(Text("gather", "0"), CultureInfo.InvariantCulture),
            Tile = AttentionTile.TryParse(Text("tile", DefaultTile), out AttentionTile tile) ? tile : null,
            Window = Integer("window"),
            Pool = Integer("pool"),
            MinTokens = Integer("min"),
            RoundScores = bool.Parse(Text("round")),
        };

        // Parts that older lines do not have mean what was so before.
        string Text(string name, string? before = null) => parts.TryGetValue(name, out string? text)
            ? text
            : before ?? throw new FormatException($"The configuration lacks '{name}'.");

        int Integer(string name) => int.Parse(Text(name), CultureInfo.InvariantCulture);
    }
}
