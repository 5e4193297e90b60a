namespace AttnCompose.Conformance;

/// <summary>
/// What block selectors choose, by their definitions: plain loops in double over the rows of one query head. Scores in float32 rank
/// near the cut as they may, so a ranking yields a band: what must be chosen, and what may be.
/// </summary>
public static partial class BlockSelectionOracle
{
    /// <summary>Sinks and a local window; exact.</summary>
    public static bool[,] Streaming(BlockHead head, int sink, int local) =>
        head.Where((d, key) => key < sink || (d - key < local && (head.Causal || key - d < local)));

    /// <summary>Every block that the mask leaves, as in a dense head; exact.</summary>
    public static BlockChoiceBand Everything(BlockHead head)
    {
        bool[,] visits = head.Where((d, key) => true);
        return new() { Must = visits, May = visits };
    }

    /// <summary>Columns and diagonals of the last queries.</summary>
    public static BlockChoiceBand VerticalSlash(
        BlockHead head, int lastQueries, int verticalSize, int slashSize, int forcedVertical, int forcedSlash)
    {
        (double[] columns, double[] slashes) = WindowSums(head, lastQueries);
        columns.AsSpan(0, Math.Min(forcedVertical, columns.Length)).Fill(double.PositiveInfinity);
        slashes.AsSpan(0, Math.Min(forcedSlash, slashes.Length)).Fill(double.PositiveInfinity);
        (int columnCount, int slashCount) = (Math.Max(verticalSize, forcedVertical), Math.Max(slashSize, forcedSlash));
        Band vertical = Highest(columns, columnCount, columnCount, head.ScoreError);
        Band slash = Highest(slashes, slashCount, slashCount, head.ScoreError);
        return new BlockChoiceBand
        {
            Must = Crossed(head, slash.Must), May = Crossed(head, slash.May), Columns = vertical,
            ColumnCount = Math.Min(head.Keys, columnCount),
        };
    }

    /// <summary>FlexPrefill; null where float32 may take either kind.</summary>
    public static BlockChoiceBand? FlexPrefill(BlockHead head, double gamma, double tau, int minBudget)
    {
        int size = head.BlockKey, window = Math.Min(head.BlockQuery, head.Queries);
        (double[] columns, double[] slashes) = WindowSums(head, window);
        double[] truth = Blocks(columns), bands = Blocks(slashes);
        double[] estimate = MapRow(head, head.Queries - window, head.Queries, head.KeyBlocks);
        double distance = Math.Sqrt(Math.Max(0, truth.Zip(estimate, (p, q) => Divergence(p, q) + Divergence(q, p)).Sum() / 2));
        if (tau > 0 && Math.Abs(distance * distance - tau * tau) < 1e-5 + 4 * head.ScoreError)
            return null;
        bool aware = distance < tau;
        Band vertical = Ranked(columns, truth), slash = Ranked(slashes, bands);
        Band map = aware ? Map() : new Band([], []);
        return new BlockChoiceBand
        {
            IsQueryAware = aware,
            Must = Union(i => map.Must.Contains(i), vertical.Must, slash.Must),
            May = Union(i => map.May.Contains(i), vertical.May, slash.May),
        };

        double[] Blocks(double[] scores) => [.. scores.Chunk(size).Select(block => block.Sum())];

        // As many blocks as the scores that cover gamma would fill, at least the budget.
        Band Ranked(double[] scores, double[] blocks)
        {
            (int few, int many) = aware ? (0, 0) : Covering(scores, gamma, head.ScoreError);
            return Highest(blocks, Count(few), Count(many), head.ScoreError);

            int Count(int tokens) => Math.Max((tokens + size - 1) / size, (minBudget + size - 1) / size);
        }

        Band Map()
        {
            double[] pairs = [.. Enumerable.Range(0, head.QueryBlocks).SelectMany(i =>
            {
                int visible = Enumerable.Range(0, head.KeyBlocks).Count(j => head.MayVisit(i, j));
                double[] row = MapRow(head, i * head.BlockQuery, Math.Min((i + 1) * head.BlockQuery, head.Queries), visible);
                return row.Concat(Enumerable.Repeat(0.0, head.KeyBlocks - visible));
            })];
            (int few, int many) = Covering(pairs, gamma, head.ScoreError);
            return Highest(pairs, few, many, head.ScoreError);
        }

        bool[,] Union(Func<int, bool> isInMap, HashSet<int> verticals, HashSet<int> slashes)
        {
            bool[,] crossed = Crossed(head, [.. slashes.SelectMany(band => Enumerable.Range(band * size, size))]);
            for (int i = 0; i < head.QueryBlocks; i++)
            {
                for (int j = 0; j < head.KeyBlocks; j++)
                {
                    bool holdsDiagonal = head.Diagonals(i).Any(d => d / size == j && d >= 0);
                    crossed[i, j] |= head.MayVisit(i, j)
                        && (j == 0 || holdsDiagonal || verticals.Contains(j) || isInMap(i * head.KeyBlocks + j));
                }
            }
            return crossed;
        }
    }

    /// <summary>Means over the last queries of their causal softmax, summed along columns and along diagonals.</summary>
    public static (double[] Columns, double[] Slashes) WindowSums(BlockHead head, int lastQueries)
    {
        int window = Math.Min(lastQueries, head.Queries);
        double[] columns = new double[head.Keys], slashes = new double[head.Keys];
        for (int r = head.Queries - window; r < head.Queries; r++)
        {
            int d = head.FirstDiagonal + r;
            double[] scores = [.. Enumerable.Range(0, Math.Max(0, d + 1)).Select(j =>
            {
                double score = head.Scale * Dot(head.Query.AsSpan(r * head.Dim, head.Dim), head.Key.AsSpan(j * head.Dim, head.Dim));
                return head.Rule is { } rule ? rule(score, d, j) : score;
            })];
            Softmax(scores);
            for (int j = 0; j <= d; j++)
            {
                columns[j] += scores[j] / window;
                slashes[d - j] += scores[j] / window;
            }
        }
        return (columns, slashes);
    }

    // Softmax over key blocks of scale times mean query [begin, end) times mean key.
    private static double[] MapRow(BlockHead head, int begin, int end, int keyBlocks)
    {
        double[] query = Mean(head, head.Query, Enumerable.Range(begin, end - begin));
        double[] row = [.. Enumerable.Range(0, keyBlocks).Select(j => head.Scale * Dot(query, Mean(head, head.Key, head.KeysOf(j))))];
        Softmax(row);
        return row;
    }

    private static double[] Mean(BlockHead head, float[] data, IEnumerable<int> rows, bool magnitudes = false)
    {
        var sum = new double[head.Dim];
        foreach (int row in rows)
        {
            for (int i = 0; i < head.Dim; i++)
                sum[i] += magnitudes ? Math.Abs(data[row * head.Dim + i]) : data[row * head.Dim + i];
        }
        return [.. sum.Select(x => x / rows.Count())];
    }

    // Pairs of blocks that one of the diagonals crosses.
    private static bool[,] Crossed(BlockHead head, HashSet<int> diagonals) =>
        head.Where((d, key) => key <= d && diagonals.Contains(d - key));

    // What a ranking keeps of which at least `few` and at most `many` are kept.
    private static Band Highest(double[] scores, int few, int many, double error)
    {
        double[] ranked = [.. scores.OrderDescending()];
        // Above what the first one that is left out may have, and at least what the last one that is kept may have.
        double low = few >= ranked.Length ? double.NegativeInfinity : ranked[few] + error;
        double high = many >= ranked.Length ? double.NegativeInfinity
            : many == 0 ? double.PositiveInfinity
            : ranked[many - 1] - error;
        int[] all = [.. Enumerable.Range(0, scores.Length)];
        return new Band([.. all.Where(i => few > 0 && scores[i] > low)], [.. all.Where(i => many > 0 && scores[i] >= high)]);
    }

    // How few scores hold, with what is given besides, the share of the whole sum, within the error of a float32 sum.
    private static (int Few, int Many) Covering(double[] scores, double share, double error, double given = 0)
    {
        return (Fewest(share - 1e-5 - 4 * error), Fewest(share + 1e-5 + 4 * error));

        int Fewest(double part)
        {
            double target = Math.Min(part, 1) * (scores.Sum() + given) - given - 1e-12, sum = 0;
            int count = 0;
            foreach (double score in scores.OrderDescending())
            {
                if (sum >= target)
                    break;
                sum += score;
                count++;
            }
            return count;
        }
    }

    private static double Divergence(double p, double q) => p > 0 ? p * Math.Log(2 * p / (p + q)) : 0;

    private static void Softmax(Span<double> scores)
    {
        double largest = double.NegativeInfinity, sum = 0;
        foreach (double score in scores)
            largest = Math.Max(largest, score);
        if (double.IsNegativeInfinity(largest))
        {
            scores.Clear();
            return;
        }
        foreach (ref double score in scores)
            sum += score = Math.Exp(score - largest);
        foreach (ref double score in scores)
            score /= sum;
    }

    private static double Dot(double[] a, double[] b) => a.Zip(b, (x, y) => x * y).Sum();

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
            sum += (double)a[i] * b[i];
        return sum;
    }
}

/// <summary>Indices that a ranking must keep, and those that it may.</summary>
public sealed record Band(HashSet<int> Must, HashSet<int> May)
{
    /// <summary>Whether a set lies between the two.</summary>
    public bool Holds(IEnumerable<int> kept)
    {
        var set = kept.ToHashSet();
        return Must.IsSubsetOf(set) && set.IsSubsetOf(May);
    }
}

/// <summary>What a block selector must choose of a head, and what it may, [query blocks, key blocks].</summary>
public sealed record BlockChoiceBand
{
    public required bool[,] Must { get; init; }
    public required bool[,] May { get; init; }

    /// <summary>Single columns, and how many; null where the selector has none.</summary>
    public Band? Columns { get; init; }

    public int ColumnCount { get; init; }

    /// <summary>Of FlexPrefill: the head's kind.</summary>
    public bool IsQueryAware { get; init; }

    /// <summary>Pairs of blocks that the band leaves open.</summary>
    public int OpenPairs => May.Cast<bool>().Zip(Must.Cast<bool>(), (may, must) => may && !must ? 1 : 0).Sum();
}
