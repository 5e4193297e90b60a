using AttnCompose;

const int heads = 8, length = 4096, dim = 64;
float[] Random(int seed)
{
    var random = new Random(seed);
    return Enumerable.Range(0, heads * length * dim).Select(_ => random.NextSingle() * 4 - 2).ToArray();
}

var output = new float[heads * length * dim];
using var device = AttentionDevice.Cpu();                                  // or AttentionDevice.Cuda(0)
using var pipeline = MyPrefill.Create(device, new() { Coverage = 0.3 });   // drop 30 % of the attention mass
pipeline.Run(
    AttentionTensor.FromBhld(Random(1), 1, heads, length, dim),   // query  [batch, heads, length, head dim]
    AttentionTensor.FromBhld(Random(2), 1, heads, length, dim),   // key
    AttentionTensor.FromBhld(Random(3), 1, heads, length, dim),   // value
    AttentionTensor.FromBhld(output, 1, heads, length, dim));
Console.WriteLine(MyPrefill.Plan);                                         // stages, kernels, buffers, and why

[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage(MinTokens = 512, Window = 64)]                              // which tokens matter, per head
[GatherTokens]                                                             // a shorter sequence of them
[FlashAttention]                                                           // any attention kernel
[ScatterTokens]                                                            // back to their places
public sealed partial class MyPrefill;
