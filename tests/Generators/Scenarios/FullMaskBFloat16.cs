namespace Acme.Encoder;

/// <summary>Bidirectional attention of an encoder whose heads have 64 elements of bfloat16.</summary>
[AttentionPipeline(Mask = AttentionMask.Full, HeadDim = 64, Element = ElementType.BFloat16)]
[FlashAttention]
internal sealed partial class EncoderAttention
{
    /// <summary>The name that the model's config file uses.</summary>
    public const string ConfigName = "encoder_attention";
}
