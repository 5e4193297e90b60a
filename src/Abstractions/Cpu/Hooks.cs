using System.Runtime.CompilerServices;

namespace AttnCompose.Cpu;

/// <summary>
/// The rows of one head that take part, in the order in which the attention loop walks them. With no positions they are all
/// rows of the sequence.
/// </summary>
public readonly ref struct RowSet
{
    /// <summary>Every row of a sequence.</summary>
    public RowSet(in SequenceShape sequence)
    {
        KeyCount = sequence.KeyLength;
        QueryBegin = sequence.FirstQuery;
    }

    /// <summary>Chosen rows.</summary>
    /// <param name="positions">Positions among the keys, ascending.</param>
    /// <param name="queryBegin">Index in <paramref name="positions"/> of the first one that has a query.</param>
    public RowSet(ReadOnlySpan<int> positions, int queryBegin)
    {
        Positions = positions;
        KeyCount = positions.Length;
        QueryBegin = queryBegin;
        IsIndexed = true;
    }

    /// <summary>Key positions, ascending; meaningful when <see cref="IsIndexed"/>.</summary>
    public ReadOnlySpan<int> Positions { get; }

    /// <summary>Whether <see cref="Positions"/> says which rows these are.</summary>
    public bool IsIndexed { get; }

    /// <summary>Keys that take part.</summary>
    public int KeyCount { get; }

    /// <summary>Index of the first key that has a query; queries are the keys from there to the end.</summary>
    public int QueryBegin { get; }

    /// <summary>Queries that take part.</summary>
    public int QueryCount => KeyCount - QueryBegin;

    /// <summary>Original key position of row <paramref name="index"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Position(int index) => IsIndexed ? Positions[index] : index;
}

/// <summary>Row source hook: which rows the loop sees. A struct, so that the loop is specialised for it.</summary>
public interface IRowSource
{
    /// <summary>
    /// Whether heads of one key/value group may see different rows. Where false, the loop loads keys and values once a
    /// key/value head.
    /// </summary>
    static abstract bool DiffersByQueryHead { get; }

    /// <summary>The rows of one head.</summary>
    RowSet Rows(in SequenceShape sequence, int batch, int queryHead);
}

/// <summary>All rows: what a pipeline without a compress stage uses.</summary>
public readonly struct DirectRows : IRowSource
{
    /// <inheritdoc/>
    public static bool DiffersByQueryHead => false;

    /// <inheritdoc/>
    public RowSet Rows(in SequenceShape sequence, int batch, int queryHead) => new(in sequence);
}

/// <summary>Where a run of scores stands. Positions are those of the original sequence, after a token selection too.</summary>
public readonly ref struct ScoreSegment
{
    /// <summary>Sequence of the batch.</summary>
    public required int Batch { get; init; }

    /// <summary>Query head.</summary>
    public required int QueryHead { get; init; }

    /// <summary>Key/value head of that query head.</summary>
    public required int KeyValueHead { get; init; }

    /// <summary>Position of the query among the keys (already offset by Lk - Lq).</summary>
    public required int Query { get; init; }

    /// <summary>Position of the first key when the keys are consecutive.</summary>
    public required int FirstKey { get; init; }

    /// <summary>Positions of the keys when they are not consecutive; empty when they are.</summary>
    public ReadOnlySpan<int> Keys { get; init; }

    /// <summary>Position of the key of score <paramref name="index"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Key(int index) => Keys.IsEmpty ? FirstKey + index : Keys[index];

    /// <summary>Where score <paramref name="index"/> stands.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ScorePosition At(int index) => new(Batch, QueryHead, KeyValueHead, Query, Key(index));
}

/// <summary>
/// Score hook: score and mask rules on a run of scores of one query. Scores arrive scaled, in natural-log units; -inf masks
/// a key. A struct, so that the loop is specialised for it.
/// </summary>
public interface IScoreHook
{
    /// <summary>Whether <see cref="Apply"/> does nothing, so that the loop can leave the call out.</summary>
    static abstract bool IsIdentity { get; }

    /// <summary>Whether <see cref="Sees"/> says something, so that the loop asks it of each tile.</summary>
    static virtual bool HasRanges => false;

    /// <summary>Whether <see cref="Apply"/> does nothing but mask, so that it is left out of tiles where no key is hidden.</summary>
    static virtual bool OnlyMasks => false;

    /// <summary>Whether <see cref="Sink"/> gives a logit.</summary>
    static virtual bool HasSink => false;

    /// <summary>Changes the scores in place.</summary>
    void Apply(in ScoreSegment at, Span<float> scores);

    /// <summary>Whether the mask rules can hold, and can fail, among the pairs of a tile.</summary>
    RuleVerdict Sees(in TileRanges at) => RuleVerdict.Any;

    /// <summary>
    /// A logit, in natural-log units, that the softmax of a row has beside those of its keys, without a value; -inf for none.
    /// The key of the position means nothing.
    /// </summary>
    float Sink(in ScorePosition at) => float.NegativeInfinity;
}

/// <summary>No rule.</summary>
public readonly struct NoScoreHook : IScoreHook
{
    /// <inheritdoc/>
    public static bool IsIdentity => true;

    /// <inheritdoc/>
    public void Apply(in ScoreSegment at, Span<float> scores)
    {
    }
}

/// <summary>Row destination hook: what becomes of a computed row, and of a query row that was not computed.</summary>
public interface IRowDestination
{
    /// <summary>Writes a computed row at its place in the output.</summary>
    void Store<TOut>(ReadOnlySpan<float> result, Span<TOut> row) where TOut : unmanaged;

    /// <summary>Writes the output row of a query that no computed row belongs to.</summary>
    void Skip<TOut>(Span<TOut> row) where TOut : unmanaged;
}

/// <summary>Rows go where they came from; rows that attend to nothing are +0. What a pipeline without a decompress stage uses.</summary>
public readonly struct DirectDestination : IRowDestination
{
    /// <inheritdoc/>
    public void Store<TOut>(ReadOnlySpan<float> result, Span<TOut> row) where TOut : unmanaged => ElementConvert.FromFloat(result, row);

    /// <inheritdoc/>
    public void Skip<TOut>(Span<TOut> row) where TOut : unmanaged => row.Clear();
}
