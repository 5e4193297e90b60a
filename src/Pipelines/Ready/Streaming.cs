namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention to the first keys and the last ones (StreamingLLM, arXiv 2309.17453; the A-shape of MInference, arXiv
/// 2407.02490), in blocks of 128 queries by 128 keys.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[StreamingBlocks]
[BlockSparseAttention]
public sealed partial class Streaming;
