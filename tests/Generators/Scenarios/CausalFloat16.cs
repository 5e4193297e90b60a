namespace Acme.Decoder;

/// <summary>Causal attention with everything fixed: nothing is bound at the first run but the output's type.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal, HeadDim = 128, Element = ElementType.Float16)]
[FlashAttention]
public sealed partial class DecoderAttention : IComparable<DecoderAttention>
{
    /// <summary>Orders instances by where they run.</summary>
    public int CompareTo(DecoderAttention? other) => string.CompareOrdinal(Device.Name, other?.Device.Name);
}
