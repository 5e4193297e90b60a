namespace AttnCompose;

/// <summary>
/// Where a score stands: what a rule knows of it. Positions are those of the original sequence, after a token selection too.
/// </summary>
/// <param name="Batch">Sequence of the batch.</param>
/// <param name="QueryHead">Query head.</param>
/// <param name="KeyValueHead">Key/value head of that query head.</param>
/// <param name="Query">
/// Position of the query among the keys: query i of Lq stands at Lk - Lq + i. Negative for the first ones where there are more
/// queries than keys, which the full mask allows.
/// </param>
/// <param name="Key">Position of the key, in [0, Lk).</param>
public readonly record struct ScorePosition(int Batch, int QueryHead, int KeyValueHead, int Query, int Key);
