using AttnCompose.Cpu;

namespace AttnCompose.Testing;

/// <summary>The inputs of one call that a stage is tested with: N(0,1), a few heavy keys among them.</summary>
public sealed class StageCase
{
    private const float Heavy = 4;
    private const int HeavyEvery = 37;

    private StageCase(string name, int batch, int queryHeads, int keyValueHeads, int queryLength, int keyLength, int headDim)
    {
        Name = name;
        Shape = new ProblemShape(batch, queryHeads, keyValueHeads, queryLength, keyLength, headDim);
        var random = new Random(keyLength * 31 + headDim);
        Query = Normal(random, queryHeads * queryLength);
        Key = Normal(random, keyValueHeads * keyLength);
        Value = Normal(random, keyValueHeads * keyLength);
        for (int row = 0; row < Key.Length / headDim; row += HeavyEvery)
        {
            for (int d = 0; d < headDim; d++)
                Key[row * headDim + d] *= Heavy;
        }
    }

    /// <summary>Names of the cases, in the order of <see cref="Find"/>.</summary>
    public static IReadOnlyList<string> Names { get; } =
        ["one head", "grouped heads", "lengths", "chunk", "chunks of lengths", "long"];

    /// <summary>The case of a name: what it is about is its name.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="headDim">Head dim of the pipeline where it fixes one; 0 for the case's own.</param>
    public static StageCase Find(string name, int headDim = 0)
    {
        int Dim(int own) => headDim == 0 ? own : headDim;
        return name switch
        {
            "one head" => new(name, 1, 1, 1, 200, 200, Dim(64)),
            "grouped heads" => new(name, 2, 6, 2, 300, 300, Dim(40)),
            "lengths" => new(name, 4, 4, 2, 260, 260, Dim(64)) { KeyLengths = [260, 0, 1, 131] },
            "chunk" => new(name, 1, 4, 4, 70, 310, Dim(128)),
            "chunks of lengths" => new(name, 3, 2, 1, 64, 280, Dim(64)) { KeyLengths = [280, 64, 90], QueryLengths = [64, 3, 0] },
            "long" => new(name, 1, 2, 1, 1100, 1100, Dim(64)),
            _ => throw new ArgumentException($"There is no case '{name}'.", nameof(name)),
        };
    }

    /// <summary>What it is about.</summary>
    public string Name { get; }

    /// <summary>Sizes.</summary>
    public ProblemShape Shape { get; }

    /// <summary>[batch, query heads, Lq, dim].</summary>
    public float[] Query { get; private init; }

    /// <summary>[batch, key/value heads, Lk, dim].</summary>
    public float[] Key { get; private init; }

    /// <summary>[batch, key/value heads, Lk, dim].</summary>
    public float[] Value { get; private init; }

    /// <summary>Valid keys of each sequence; null where all are.</summary>
    public int[]? KeyLengths { get; private init; }

    /// <summary>Valid queries of each sequence; null where they are the keys, or all.</summary>
    public int[]? QueryLengths { get; private init; }

    /// <summary>Factor of query times key.</summary>
    public double Scale => 1 / Math.Sqrt(Shape.HeadDim);

    /// <summary>Valid lengths of a sequence.</summary>
    public SequenceShape Sequence(int batch)
    {
        int keys = KeyLengths?[batch] ?? Shape.KeyLength;
        return new(QueryLengths?[batch] ?? (Shape.QueryLength == Shape.KeyLength ? keys : Shape.QueryLength), keys);
    }

    /// <summary>A query row of a query head.</summary>
    public ReadOnlySpan<float> QueryRow(int batch, int head, int row) =>
        Query.AsSpan(((batch * Shape.QueryHeads + head) * Shape.QueryLength + row) * Shape.HeadDim, Shape.HeadDim);

    /// <summary>A key row of the key/value head of a query head.</summary>
    public ReadOnlySpan<float> KeyRow(int batch, int head, int row) => Row(Key, batch, head, row);

    /// <summary>A value row of the key/value head of a query head.</summary>
    public ReadOnlySpan<float> ValueRow(int batch, int head, int row) => Row(Value, batch, head, row);

    /// <summary>The same, every number rounded to an element type.</summary>
    public StageCase In<T>() where T : unmanaged
    {
        return new(this, Rounded(Query), Rounded(Key), Rounded(Value));

        static float[] Rounded(float[] values)
        {
            var (elements, result) = (new T[values.Length], new float[values.Length]);
            ElementConvert.FromFloat<T>(values, elements);
            ElementConvert.ToFloat<T>(elements, result);
            return result;
        }
    }

    /// <summary>One of its sequences alone.</summary>
    internal StageCase Only(int batch)
    {
        return new(this, Part(Query), Part(Key), Part(Value), Shape with { Batch = 1 })
        {
            KeyLengths = KeyLengths is null ? null : [KeyLengths[batch]],
            QueryLengths = QueryLengths is null ? null : [QueryLengths[batch]],
        };

        float[] Part(float[] values)
        {
            int size = values.Length / Shape.Batch;
            return values[(batch * size)..((batch + 1) * size)];
        }
    }

    /// <summary>The same, with one number in all queries and keys.</summary>
    internal StageCase Filled(float value)
    {
        StageCase result = new(this, [.. Query], [.. Key], [.. Value]);
        result.Query.AsSpan().Fill(value);
        result.Key.AsSpan().Fill(value);
        return result;
    }

    /// <summary>The same, with another number in every row beyond a length.</summary>
    internal StageCase Beyond(float filler)
    {
        StageCase result = new(this, [.. Query], [.. Key], [.. Value]);
        for (int b = 0; b < Shape.Batch; b++)
        {
            Fill(result.Query, b, Shape.QueryHeads, Shape.QueryLength, Sequence(b).QueryLength);
            Fill(result.Key, b, Shape.KeyValueHeads, Shape.KeyLength, Sequence(b).KeyLength);
            Fill(result.Value, b, Shape.KeyValueHeads, Shape.KeyLength, Sequence(b).KeyLength);
        }
        return result;

        void Fill(float[] tensor, int batch, int heads, int length, int valid)
        {
            for (int h = 0; h < heads; h++)
            {
                int row = (batch * heads + h) * length;
                tensor.AsSpan((row + valid) * Shape.HeadDim, (length - valid) * Shape.HeadDim).Fill(filler);
            }
        }
    }

    private StageCase(StageCase other, float[] query, float[] key, float[] value, ProblemShape? shape = null)
    {
        (Name, Shape, KeyLengths, QueryLengths) = (other.Name, shape ?? other.Shape, other.KeyLengths, other.QueryLengths);
        (Query, Key, Value) = (query, key, value);
    }

    private ReadOnlySpan<float> Row(float[] tensor, int batch, int head, int row) => tensor.AsSpan(
        ((batch * Shape.KeyValueHeads + head / Shape.GroupSize) * Shape.KeyLength + row) * Shape.HeadDim, Shape.HeadDim);

    private float[] Normal(Random random, int rowsOfSequence)
    {
        var values = new float[Shape.Batch * rowsOfSequence * Shape.HeadDim];
        for (int i = 0; i < values.Length; i++)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
            values[i] = (float)(radius * Math.Cos(2 * Math.PI * random.NextDouble()));
        }
        return values;
    }
}
