namespace AttnCompose.Samples.App;

/// <summary>
/// The same choice without a stage of one's own: a score of tokens in C#, which the generator translates for CPU and GPU, before a
/// budget of the library. No header and no assembly beside this one; in return it knows of a token what a method is given, sums a
/// norm in order instead of by a warp, and ranks by a number that is at least 0.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FixedCount(Count = 128)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class LowestNormInCSharp
{
    [TokenScoreRule(Window = 32)]
    private static float Shortness(in TokenPosition at, ReadOnlySpan<float> key)
    {
        float norm = 0;
        for (int d = 0; d < key.Length; d++)
            norm += key[d] * key[d];
        return 1 / (1 + norm);
    }
}
