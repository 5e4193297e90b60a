/// <summary>All that a rule may hold. A loop has no vector form, so the user's own method runs on the CPU.</summary>
[AttentionPipeline(HeadDim = 64)]
[FlashAttention]
public sealed partial class RuleGrammar
{
    private const float Floor = -1e4f;

    [ScoreModifier]
    internal static float Bias(float score, in ScorePosition at, ReadOnlySpan<float> table, ReadOnlySpan<bool> muted, int buckets = 32)
    {
        if (muted[at.QueryHead])
            return score;
        int bucket = BucketOf(at.Query - at.Key, buckets);
        float bias = 0;
        for (int i = 0; i <= at.Batch; i += 2)
        {
            if (i == 6)
                continue;
            bias += table[at.QueryHead * buckets + bucket];
            if (bias > 8f)
                break;
        }
        score += bias;
        score = at.Key switch
        {
            0 => score * 2,
            > 0 and < 4 or 7 when !muted[at.Batch] => score,
            _ => MathF.Max(score, Floor),
        };
        return score;
    }

    [ScoreModifier]
    internal static float @Double(float score, ScorePosition at)
    {
        int @default = at.Key >>> 3 ^ (at.Query & 5) << 2, Default = -at.Batch % 3;
        bool odd = (@default & 1) != 0 != (Default == 0 | at.Key is 1 or 3);
        @default++;
        @default -= Default;
        return odd && !(score >= 0) ? float.NegativeInfinity : score + (float)~@default * (int)score;
    }

    // T5's buckets: one a distance up to half of them, then by powers of two.
    private static int BucketOf(int distance, int buckets)
    {
        int near = buckets / 2;
        if (distance < near)
            return Math.Max(distance, 0);
        else if (distance == near)
            return near;
        float far = MathF.Log2((float)distance / near) * near / 4;
        return Math.Min(near + (int)far, buckets - 1);
    }
}
