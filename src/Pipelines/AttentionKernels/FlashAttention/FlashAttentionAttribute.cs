using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose;

/// <summary>
/// Dense attention by tiles with an online softmax (FlashAttention: arXiv 2205.14135, 2307.08691). Grouped-query heads, full or
/// causal mask, valid lengths, log-sum-exp; every fusion point but block lists.
/// </summary>
/// <remarks>
/// A query whose keys are all masked gets 0 and log-sum-exp -inf. Memory beyond the tensors is proportional to the keys that
/// take part times the head dim. On the CPU results are bitwise the same for the same processor and inputs, whatever the number
/// of workers and the other sequences of the batch. A non-finite key or value at a valid position may make non-finite any row
/// of a tile that visits it, under the causal mask too.
/// </remarks>
[DeviceStage("flash_attention.cuh", Type = "FlashAttention",
    Offers = FusionPoint.RowSource | FusionPoint.Score | FusionPoint.RowDestination,
    Elements = [ElementType.Float16, ElementType.BFloat16])]
[DevicePhase("attend", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["query", "key", "value"], Writes = ["output"],
    Summary = "online softmax over the rows that take part; wgmma on sm_90a at head dim 64, 96, 128, 192, 256, else mma.sync")]
public sealed class FlashAttentionAttribute : AttentionKernelAttribute
{
    /// <inheritdoc/>
    public override void Attend<T, TOut, TRows, TScore, TDestination>(
        in CpuProblem<T, TOut> problem, CpuExecution cpu, TRows rows, TScore scores, TDestination destination)
    {
        if (KernelWidth.Bits == 512)
            Run<MicroKernel512>(in problem);
        else
            Run<MicroKernel256>(in problem);

        void Run<TKernel>(in CpuProblem<T, TOut> problem) where TKernel : struct, IMicroKernel =>
            CpuFlashAttention.Run<T, TOut, TRows, EveryBlock, TScore, TDestination, TKernel>(
                in problem, cpu, rows, default, scores, destination);
    }
}
