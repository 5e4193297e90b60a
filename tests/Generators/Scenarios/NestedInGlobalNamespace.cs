/// <summary>A model that keeps its pipeline to itself, in the global namespace.</summary>
public static partial class Model
{
    /// <summary>One layer.</summary>
    public partial record struct Layer(int Index)
    {
        [AttentionPipeline(Mask = AttentionMask.Causal, HeadDim = 96)]
        [FlashAttention]
        private sealed partial class @default;

        /// <summary>Makes the layer's pipeline.</summary>
        public static IAttentionPipeline Make(AttentionDevice device) => @default.Create(device);
    }
}
