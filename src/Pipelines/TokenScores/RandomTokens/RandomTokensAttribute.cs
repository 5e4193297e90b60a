using AttnCompose.Cpu;

namespace AttnCompose;

/// <summary>
/// Token score that means nothing: uniform random numbers, the control that a score has to beat. The same on every CPU and GPU,
/// and for every batch neighbour.
/// </summary>
/// <remarks>
/// A pure function of <see cref="Seed"/>, the layer if the call names one, the query head and the token's position. With mix(x)
/// the finaliser of splitmix64 and G = 0x9E3779B97F4A7C15, in 64-bit integers: x = mix(mix(mix(Seed + G) ^ (layer * 2^32 + head))
/// + position * G), and the score is ((x / 2^40) + 1) / 2^24.
/// </remarks>
[DeviceStage("random_tokens.cuh", Type = "RandomTokens")]
[DevicePhase("random_scores", Scope = PhaseScope.QueryHeadKeyTile, Writes = ["raw_scores"], Parameters = ["Seed"],
    Summary = "a uniform random number for each prefix token, from its position")]
public sealed class RandomTokensAttribute : TokenScoreAttribute
{
    private const ulong Golden = 0x9E3779B97F4A7C15;

    /// <summary>Another seed, another choice.</summary>
    [RuntimeParameter(0, Min = 0, Max = int.MaxValue)]
    public int Seed { get; set; }

    /// <inheritdoc/>
    public override void Score<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore rules, in TokenScores scores)
    {
        ArgumentNullException.ThrowIfNull(cpu);
        ProblemShape shape = problem.Shape;
        var work = new HeadWork { Scores = scores, Heads = shape.QueryHeads, Layer = shape.Layer.Index, Seed = Seed };
        cpu.Workers.Run(ref work, shape.Batch * shape.QueryHeads);
    }

    private struct HeadWork : ICpuWork
    {
        public required TokenScores Scores;
        public required int Heads;
        public required int Layer;
        public required int Seed;

        public readonly void Execute(int item, int worker)
        {
            int head = item % Heads;
            Span<float> row = Scores.Row(item / Heads, head);
            ulong key = Mix(Mix((uint)Seed + Golden) ^ ((ulong)Layer << 32 | (uint)head));
            for (int t = 0; t < row.Length; t++)
                row[t] = ((Mix(key + (uint)t * Golden) >> 40) + 1) * (1f / (1 << 24));
        }

        private static ulong Mix(ulong x)
        {
            x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
            x = (x ^ x >> 27) * 0x94D049BB133111EB;
            return x ^ x >> 31;
        }
    }
}
