using AttnCompose.Testing;

namespace AttnCompose.Pipelines.Tests;

/// <summary>A token score in C# chooses what its definition in double says, in every form that the generator gives it.</summary>
public sealed class TokenRuleTests
{
    private static readonly float[] s_table = [.. Enumerable.Range(0, 4096).Select(i => 1 + i * 7919 % 64 / 16f)];

    [Fact]
    public void The_plan_says_which_form_the_CPU_runs()
    {
        Assert.EndsWith("; on the CPU in vectors of tokens", Placement(ScoredInVectors.Plan), StringComparison.Ordinal);
        Assert.EndsWith(
            "; on the CPU one token at a time, because it reads other elements of other tokens", Placement(ScoredOneByOne.Plan),
            StringComparison.Ordinal);
        Assert.EndsWith("; on the CPU in vectors of tokens", Placement(ScoredByPlace.Plan), StringComparison.Ordinal);

        static string Placement(PipelinePlan plan) => plan.Stages.Single(stage => stage.Kind == StageKind.TokenScore).Placement;
    }

    [Theory]
    [MemberData(nameof(TokenSelectorContract.Cases), MemberType = typeof(TokenSelectorContract))]
    public void Vectors_choose_what_the_method_chooses(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(3);
        using var pipeline = ScoredInVectors.Create(device, new() { Steep = 2.5f });
        StageCase inputs = StageCase.Find(name);
        Check(inputs, ScoredInVectors.Count, (in AttentionArguments<float, float> arguments) => pipeline.Run(in arguments, s_table), (b, h) =>
        {
            int length = inputs.Sequence(b).KeyLength;
            return t => ScoredInVectors.Blend(
                new(b, h, h / inputs.Shape.GroupSize, t, length), inputs.KeyRow(b, h, t), inputs.ValueRow(b, h, t), s_table, 2.5f);
        });
    }

    [Theory]
    [MemberData(nameof(TokenSelectorContract.Cases), MemberType = typeof(TokenSelectorContract))]
    public void One_by_one_chooses_what_the_definition_says(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(3);
        using var pipeline = ScoredOneByOne.Create(device);
        StageCase inputs = StageCase.Find(name);
        Check(inputs, ScoredOneByOne.Count, pipeline.Run, (b, h) => t =>
        {
            float picked = inputs.KeyRow(b, h, t)[t % inputs.Shape.HeadDim];
            return picked < 0 ? 0 : picked; // a negative score counts as 0
        });
    }

    [Theory]
    [MemberData(nameof(TokenSelectorContract.Cases), MemberType = typeof(TokenSelectorContract))]
    public void A_rule_may_read_no_vector_at_all(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(3);
        using var pipeline = ScoredByPlace.Create(device);
        StageCase inputs = StageCase.Find(name);
        Check(inputs, ScoredByPlace.Count, pipeline.Run, (_, h) => t => (t + h) % 5 * 10 + t % 7);
    }

    private delegate void Call(in AttentionArguments<float, float> arguments);

    private static void Check(StageCase inputs, int count, Call run, Func<int, int, Func<int, double>> scoreOf)
    {
        ProblemShape s = inputs.Shape;
        var (output, selection) = (new float[inputs.Query.Length], new TokenSelection());
        run(new AttentionArguments<float, float>
        {
            Query = AttentionTensor.FromBhld<float>(inputs.Query, s.Batch, s.QueryHeads, s.QueryLength, s.HeadDim),
            Key = AttentionTensor.FromBhld<float>(inputs.Key, s.Batch, s.KeyValueHeads, s.KeyLength, s.HeadDim),
            Value = AttentionTensor.FromBhld<float>(inputs.Value, s.Batch, s.KeyValueHeads, s.KeyLength, s.HeadDim),
            Output = AttentionTensor.FromBhld(output, s.Batch, s.QueryHeads, s.QueryLength, s.HeadDim),
            KeyLengths = inputs.KeyLengths, QueryLengths = inputs.QueryLengths, Selection = selection,
        });
        for (int b = 0; b < s.Batch; b++)
        {
            SequenceShape sequence = inputs.Sequence(b);
            int prefix = Math.Max(0, sequence.KeyLength - ScoredInVectors.Window);
            for (int h = 0; h < s.QueryHeads; h++)
            {
                Func<int, double> score = scoreOf(b, h);
                // Without a query nothing tells tokens apart.
                int kept = sequence.QueryLength == 0 ? prefix : Math.Clamp(count - ScoredInVectors.Window, 0, prefix);
                Assert.Equal(
                    Enumerable.Range(0, prefix).OrderByDescending(score).ThenBy(t => t).Take(kept)
                        .Concat(Enumerable.Range(prefix, sequence.KeyLength - prefix)).Order(),
                    selection.Positions(b, h).ToArray());
            }
        }
    }
}

/// <summary>A rule with all that has a vector form: an early return, loops, branches, a method, a span by position, an option.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FixedCount(Count = Count)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
internal sealed partial class ScoredInVectors
{
    public const int Count = 96, Window = 32;

    [TokenScoreRule(Window = Window)]
    internal static float Blend(
        in TokenPosition at, ReadOnlySpan<float> key, ReadOnlySpan<float> value, ReadOnlySpan<float> table, float steep = 1, bool odd = true)
    {
        if (at.Position < 2)
            return 1e6f;
        float sum = 0;
        for (int d = 0; d < key.Length; d += 2)
        {
            float product = key[d] * value[d];
            if (product > 0)
                sum += product;
            else if (product < -1)
                sum -= steep * product;
            else
                sum += 0.25f;
        }
        int place = at.Position & 7;
        if (odd && (place & 1) == 1)
        {
            sum *= 1 + place * 0.125f;
            if (place == 3)
                return sum / 2 + at.QueryHead;
        }
        for (int i = 8; i > 0; i -= 3)
        {
            if (i == 5)
                continue;
            sum += i;
        }
        return MathF.Sqrt(Norm(key, at.KeyValueHead)) + sum * table[at.Position];
    }

    private static float Norm(ReadOnlySpan<float> row, int head)
    {
        float norm = head;
        for (int d = 0; d < row.Length; d++)
            norm = MathF.Max(norm, MathF.Abs(row[d]));
        return norm;
    }
}

/// <summary>A rule without a vector form.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FixedCount(Count = Count)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
internal sealed partial class ScoredOneByOne
{
    public const int Count = 80;

    [TokenScoreRule(Window = ScoredInVectors.Window)]
    internal static float Pick(in TokenPosition at, ReadOnlySpan<float> key) => key[at.Position % key.Length];
}

/// <summary>A rule of the place alone.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FixedCount(Count = Count)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
internal sealed partial class ScoredByPlace
{
    public const int Count = 64;

    [TokenScoreRule(Window = ScoredInVectors.Window)]
    internal static float Place(in TokenPosition at) => (at.Position + at.QueryHead - Fifths(at.Position + at.QueryHead)) * 10 + at.Position
        - Sevenths(at.Position);

    private static int Fifths(int x) => (int)(x / 5f) * 5;

    private static int Sevenths(int x) => (int)(x / 7f) * 7;
}
