namespace AttnCompose.Conformance;

/// <summary>What a block selector sees of one query head: the rows that take part, and how they are cut into blocks.</summary>
public sealed record BlockHead
{
    /// <summary>[queries, dim], those that take part.</summary>
    public required float[] Query { get; init; }

    /// <summary>[keys, dim], those that take part.</summary>
    public required float[] Key { get; init; }

    public required int Dim { get; init; }

    public required int BlockQuery { get; init; }
    public required int BlockKey { get; init; }
    public required bool Causal { get; init; }
    public required double Scale { get; init; }

    /// <summary>A score rule on (score, query, key), both among the keys that take part, or null.</summary>
    public ScoreRule? Rule { get; init; }

    /// <summary>Weights of [GateWeights] for the head: [dim, gate dim] of queries, [3, dim, gate dim] of keys; empty for others.</summary>
    public (float[] Query, float[] Key) Gate { get; init; } = ([], []);

    /// <summary>How far a sum of probabilities in float32 may be from the truth.</summary>
    public double ScoreError { get; init; } = 2e-6;

    public int Queries => Query.Length / Dim;
    public int Keys => Key.Length / Dim;
    public int QueryBlocks => (Queries + BlockQuery - 1) / BlockQuery;
    public int KeyBlocks => (Keys + BlockKey - 1) / BlockKey;

    /// <summary>The own key of query 0; below 0 where there are more queries than keys.</summary>
    public int FirstDiagonal => Keys - Queries;

    /// <summary>Diagonals of a query block.</summary>
    public IEnumerable<int> Diagonals(int queryBlock) => Enumerable
        .Range(queryBlock * BlockQuery, Math.Min(BlockQuery, Queries - queryBlock * BlockQuery))
        .Select(i => FirstDiagonal + i);

    /// <summary>Keys of a key block.</summary>
    public IEnumerable<int> KeysOf(int keyBlock) =>
        Enumerable.Range(keyBlock * BlockKey, Math.Min(BlockKey, Keys - keyBlock * BlockKey));

    /// <summary>Whether the query at a diagonal may see a key.</summary>
    public bool MaySee(int diagonal, int key) => !Causal || key <= diagonal;

    /// <summary>Whether any query of a query block may see any key of a key block.</summary>
    public bool MayVisit(int queryBlock, int keyBlock) => MaySee(Diagonals(queryBlock).Last(), keyBlock * BlockKey);

    /// <summary>The pairs of blocks with a pair of query (by its diagonal) and key of which it holds; the query may see the key.</summary>
    public bool[,] Where(Func<int, int, bool> holds)
    {
        var visits = new bool[QueryBlocks, KeyBlocks];
        for (int i = 0; i < QueryBlocks; i++)
        {
            for (int j = 0; j < KeyBlocks; j++)
                visits[i, j] = Diagonals(i).Any(d => KeysOf(j).Any(key => MaySee(d, key) && holds(d, key)));
        }
        return visits;
    }
}
