namespace AttnCompose.Cli.Bench;

/// <summary>Exact attention of every query to every token: the ready pipelines are causal.</summary>
[AttentionPipeline(Mask = AttentionMask.Full)]
[FlashAttention]
internal sealed partial class FullAttention;
