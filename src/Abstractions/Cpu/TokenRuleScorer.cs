namespace AttnCompose.Cpu;

/// <summary>A run of neighbouring tokens of one head, and their vectors in float32.</summary>
public readonly ref struct TokenSegment
{
    /// <summary>Tokens of a segment at most, and the distance of a vector's elements where lanes are tokens.</summary>
    public const int Tokens = 64;

    /// <summary>Sequence of the batch.</summary>
    public required int Batch { get; init; }

    /// <summary>Query head.</summary>
    public required int QueryHead { get; init; }

    /// <summary>Key/value head of that query head.</summary>
    public required int KeyValueHead { get; init; }

    /// <summary>Position of the first token.</summary>
    public required int First { get; init; }

    /// <summary>Tokens of the sequence.</summary>
    public required int Length { get; init; }

    /// <summary>Elements of a vector.</summary>
    public required int Dim { get; init; }

    /// <summary>
    /// Key vectors, if the rule reads them: [tokens, dim], or [dim, <see cref="Tokens"/>] for a rule in vectors.
    /// </summary>
    public ReadOnlySpan<float> Keys { get; init; }

    /// <summary>Value vectors, likewise.</summary>
    public ReadOnlySpan<float> Values { get; init; }

    /// <summary>Where token <paramref name="index"/> stands.</summary>
    public TokenPosition At(int index) => new(Batch, QueryHead, KeyValueHead, First + index, Length);

    /// <summary>Key vector of token <paramref name="index"/>, where they lie one after another.</summary>
    public ReadOnlySpan<float> Key(int index) => Keys.Slice(index * Dim, Dim);

    /// <summary>Value vector of token <paramref name="index"/>, likewise.</summary>
    public ReadOnlySpan<float> Value(int index) => Values.Slice(index * Dim, Dim);
}

/// <summary>A token score rule as generated code hands it over. A struct, so that the loop is specialised for it.</summary>
public interface ITokenRule
{
    /// <summary>Whether it reads key vectors.</summary>
    static abstract bool ReadsKey { get; }

    /// <summary>Whether it reads value vectors.</summary>
    static abstract bool ReadsValue { get; }

    /// <summary>Whether query heads of a group may have different scores.</summary>
    static abstract bool DiffersByQueryHead { get; }

    /// <summary>Whether it computes many tokens at a time, so that elements of neighbouring tokens lie beside each other.</summary>
    static abstract bool InVectors { get; }

    /// <summary>Scores the tokens of a segment.</summary>
    void Score(in TokenSegment at, Span<float> scores);
}

/// <summary>Scores tokens by a rule on the CPU: a segment of tokens of a key/value head at a time.</summary>
public static unsafe class TokenRuleScorer
{
    /// <summary>Scores the tokens of every sequence that is to be scored; a negative score becomes 0.</summary>
    /// <param name="problem">The call's tensors, pinned.</param>
    /// <param name="cpu">Workers and scratch memory.</param>
    /// <param name="rule">The rule.</param>
    /// <param name="scores">Receives the scores.</param>
    public static void Score<T, TRule>(in CpuInputs<T> problem, CpuExecution cpu, TRule rule, in TokenScores scores)
        where T : unmanaged
        where TRule : struct, ITokenRule
    {
        ArgumentNullException.ThrowIfNull(cpu);
        ProblemShape shape = problem.Shape;
        int segments = (shape.KeyLength + TokenSegment.Tokens - 1) / TokenSegment.Tokens;
        long tile = (long)TokenSegment.Tokens * shape.HeadDim;
        var work = new SegmentWork<T, TRule>
        {
            Problem = problem, Rule = rule, Scores = scores, Segments = segments,
            // Of each worker: keys, values, and rows that are to be turned.
            Tiles = cpu.Scratch<float>(checked(cpu.Workers.Count * 3 * tile)),
        };
        cpu.Workers.Run(ref work, checked(shape.Batch * shape.KeyValueHeads * segments));
    }

    private struct SegmentWork<T, TRule> : ICpuWork
        where T : unmanaged
        where TRule : struct, ITokenRule
    {
        public required CpuInputs<T> Problem;
        public required TRule Rule;
        public required TokenScores Scores;
        public required int Segments;
        public required float* Tiles; // [workers, 3, tokens * dim]

        public readonly void Execute(int item, int worker)
        {
            ProblemShape shape = Problem.Shape;
            (int head, int segment) = Math.DivRem(item, Segments);
            (int batch, head) = Math.DivRem(head, shape.KeyValueHeads);
            int first = segment * TokenSegment.Tokens, count = Math.Min(TokenSegment.Tokens, Scores.Prefix(batch) - first);
            if (count <= 0)
                return;
            int size = TokenSegment.Tokens * shape.HeadDim;
            var tiles = new Span<float>(Tiles + (long)worker * 3 * size, 3 * size);
            Span<float> keys = tiles[..size], values = tiles.Slice(size, size), rows = tiles[(2 * size)..];
            if (TRule.ReadsKey)
                Read(Problem.Key, batch, head, first, count, rows, keys);
            if (TRule.ReadsValue)
                Read(Problem.Value, batch, head, first, count, rows, values);
            int group = shape.GroupSize;
            for (int h = head * group; h < (head + 1) * group; h++)
            {
                Span<float> scores = Scores.Row(batch, h).Slice(first, count);
                if (h > head * group && !TRule.DiffersByQueryHead)
                {
                    Scores.Row(batch, head * group).Slice(first, count).CopyTo(scores);
                    continue;
                }
                Rule.Score(
                    new TokenSegment
                    {
                        Batch = batch, QueryHead = h, KeyValueHead = head, First = first,
                        Length = Problem.Sequence(batch).KeyLength, Dim = shape.HeadDim, Keys = keys, Values = values,
                    },
                    scores);
                foreach (ref float score in scores)
                    score = score < 0 ? 0 : score;
            }
        }

        private static void Read(TensorView<T> tensor, int batch, int head, int first, int count, Span<float> rows, Span<float> tile)
        {
            int dim = tensor.Dim;
            Span<float> converted = TRule.InVectors ? rows : tile;
            for (int t = 0; t < count; t++)
                ElementConvert.ToFloat<T>(tensor.Row(batch, head, first + t), converted.Slice(t * dim, dim));
            if (!TRule.InVectors)
                return;
            if (count < TokenSegment.Tokens)
                rows[(count * dim)..].Clear(); // lanes of no token compute too
            for (int d = 0; d < dim; d++)
            {
                for (int t = 0; t < TokenSegment.Tokens; t++)
                    tile[d * TokenSegment.Tokens + t] = rows[t * dim + d];
            }
        }
    }
}
