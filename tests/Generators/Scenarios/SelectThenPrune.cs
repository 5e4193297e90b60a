namespace Acme.Experiments;

/// <summary>Two choices in a row: a score and a budget prune what the selector before them kept, by scores of their own.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[RecentQueries(Window = 64, Heads = HeadScope.KeyValueHeadMax)]
[Coverage(Coverage = 0.01)]
[RecentQueries(Window = 64, Pool = 1)]
[TopP(P = 0.9)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class SelectThenPrune;
