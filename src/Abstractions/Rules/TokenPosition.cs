namespace AttnCompose;

/// <summary>Where a token stands: what a <see cref="TokenScoreRuleAttribute"/> rule knows of it beside its vectors.</summary>
/// <param name="Batch">Sequence of the batch.</param>
/// <param name="QueryHead">Query head that is scored for. A rule that does not read it is asked once a key/value head.</param>
/// <param name="KeyValueHead">Key/value head of that query head.</param>
/// <param name="Position">Position of the token in its sequence, in [0, Length - window).</param>
/// <param name="Length">Tokens of the sequence, the window among them.</param>
public readonly record struct TokenPosition(int Batch, int QueryHead, int KeyValueHead, int Position, int Length);
