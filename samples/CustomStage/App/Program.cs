// A token selector of another assembly, in two pipelines of this one, and the same choice by a score in C# alone; on the CPU, or
// with --cuda on GPU 0.
using AttnCompose;
using AttnCompose.Samples.App;

const int heads = 8, keyValueHeads = 2, length = 4096, dim = 64;
var random = new Random(1);
Half[] Tensor(int count) => [.. Enumerable.Range(0, count * length * dim).Select(_ => (Half)(random.NextSingle() * 4 - 2))];
Half[] query = Tensor(heads), key = Tensor(keyValueHeads), value = Tensor(keyValueHeads);

using AttentionDevice device = args.Contains("--cuda") ? AttentionDevice.Cuda(0) : AttentionDevice.Cpu();
Console.WriteLine(LowestNormAttention.Plan);
Show(LowestNormAttention.Create(device, new() { Count = 1024 }));
Show(LowestNormStreaming.Create(device, new() { Count = 1024 }));
Show(LowestNormInCSharp.Create(device, new() { Count = 1024 }));

void Show(IAttentionPipeline pipeline)
{
    using IAttentionPipeline disposed = pipeline;
    var output = new float[query.Length];
    var selection = new TokenSelection();
    pipeline.Run(new AttentionArguments<Half, float>
    {
        Query = AttentionTensor.FromBhld(query, 1, heads, length, dim),
        Key = AttentionTensor.FromBhld(key, 1, keyValueHeads, length, dim),
        Value = AttentionTensor.FromBhld(value, 1, keyValueHeads, length, dim),
        Output = AttentionTensor.FromBhld(output, 1, heads, length, dim),
        Selection = selection,
    });
    string name = pipeline.PipelinePlan.Name;
    Console.WriteLine(FormattableString.Invariant(
        $"{name}: {selection.KeyCount(0, 0)} of {length} tokens kept, the last row begins {output[^dim]:0.00000}"));
}
