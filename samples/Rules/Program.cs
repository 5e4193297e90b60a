// Rules in C#: pipelines of one attribute and one method each, on the CPU, or with --cuda on GPU 0 beside it. With --time LENGTH
// their times on GPU 0 instead, with --time-blocks LENGTH those of block lists.
using AttnCompose;
using AttnCompose.Samples;

if (args is ["--time" or "--time-blocks", var tokens])
{
    Action<int> print = args[0] == "--time" ? Timing.PrintRules : Timing.PrintBlocks;
    print(int.Parse(tokens, System.Globalization.CultureInfo.InvariantCulture));
    return;
}

const int heads = 8, length = 512, dim = 64;
var random = new Random(1);
Half[] Tensor() => [.. Enumerable.Range(0, heads * length * dim).Select(_ => (Half)(random.NextSingle() * 4 - 2))];
Half[] query = Tensor(), key = Tensor(), value = Tensor();
int[] document = [.. Enumerable.Range(0, length).Select(i => i / 100)];
float[] sinks = [.. Enumerable.Range(0, heads).Select(h => h * 0.5f)];
float[] bias = [.. Enumerable.Range(0, heads * RelativeBiasAttention.Buckets).Select(_ => random.NextSingle() - 0.5f)];

using AttentionDevice cpu = AttentionDevice.Cpu();
using AttentionDevice? cuda = args.Contains("--cuda") ? AttentionDevice.Cuda(0) : null;
Console.WriteLine(AlibiAttention.Plan);

Show("ALiBi", d => AlibiAttention.Create(d), static (p, in a) => p.Run(in a, AlibiAttention.Slopes(heads)));
Show("soft-cap", d => SoftCapAttention.Create(d, new() { Cap = 20 }), static (p, in a) => p.Run(in a));
Show("soft-cap, fast", d => FastSoftCapAttention.Create(d, new() { Cap = 20 }), static (p, in a) => p.Run(in a));
Show("sliding window", d => SlidingWindowAttention.Create(d, new() { Window = 64, Sinks = 4 }), static (p, in a) => p.Run(in a));
Show("prefix LM", d => PrefixAttention.Create(d), static (p, in a) => p.Run(in a, [100]));
Show("packed documents", d => PackedAttention.Create(d), (p, in a) => p.Run(in a, document));
Show("sinks", d => SinkAttention.Create(d), (p, in a) => p.Run(in a, sinks));
Show("relative bias", d => RelativeBiasAttention.Create(d), (p, in a) => p.Run(in a, bias));

// Runs a pipeline on each device and says how far they are apart.
void Show<T>(string name, Func<AttentionDevice, T> create, Call<T> call)
    where T : IAttentionPipeline
{
    float[] onCpu = Run(cpu);
    string line = $"{name,-16} last row of head 0 begins {onCpu[(length - 1) * dim],9:0.00000}";
    if (cuda is not null)
        line += $", largest difference on {cuda.Name} {Run(cuda).Zip(onCpu, (a, b) => MathF.Abs(a - b)).Max():0.0e+0}";
    Console.WriteLine(line);

    float[] Run(AttentionDevice device)
    {
        using T pipeline = create(device);
        var output = new float[query.Length];
        call(pipeline, new AttentionArguments<Half, float>
        {
            Query = AttentionTensor.FromBhld(query, 1, heads, length, dim),
            Key = AttentionTensor.FromBhld(key, 1, heads, length, dim),
            Value = AttentionTensor.FromBhld(value, 1, heads, length, dim),
            Output = AttentionTensor.FromBhld(output, 1, heads, length, dim),
        });
        return output;
    }
}

internal delegate void Call<in T>(T pipeline, in AttentionArguments<Half, float> arguments);
