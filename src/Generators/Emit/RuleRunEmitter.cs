using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Emit;

/// <summary>Run of a pipeline whose rules take spans: each form of a call has them as further arguments.</summary>
internal static class RuleRunEmitter
{
    private const string Where = "where T : unmanaged\n    where TOut : unmanaged";

    public static void Emit(SourceWriter writer, EquatableArray<RuleSpanNode> rules)
    {
        string[] names = rules.Select(s => s.Identifier).ToArray();
        string host = string.Concat(rules.Select(s => $", global::System.ReadOnlySpan<{Element(s)}> {s.Identifier}"));
        string device = string.Concat(rules.Select(s => $", global::AttnCompose.Cuda.CudaTensor<{Element(s)}> {s.Identifier}"));
        string given = string.Concat(names.Select(n => ", " + n));
        string spans = string.Join("\n", rules.Select(s =>
            $"/// <param name=\"{s.Buffer.Name}\">{(s.Axes == RuleAxes.None ? "Elements" : $"An element a {Axes(s.Axes)} at least")}, of the rules "
            + $"{string.Join(", ", s.Buffer.Rules.Select(r => $"<c>{r}</c>"))}.</param>"));
        string adds = string.Concat(rules.Select(s => $"\n    rules.Add({s.Identifier}, nameof({s.Identifier}), {Flags(s.Axes)});"));
        string tensors = string.Concat(rules.Select(s =>
            $"\n            global::AttnCompose.Cuda.CudaRuleSpan.Of({s.Identifier}, nameof({s.Identifier}), {Flags(s.Axes)}),"));
        string missing = $"The rules of {{Plan.Name}} take {string.Join(", ", rules.Select(s => s.Buffer.Name))}: call the Run that has them as arguments.";

        writer.WriteLine($$"""
            /// <summary>Computes attention over host memory.</summary>
            /// <param name="arguments">What goes in and what comes out.</param>
            {{spans}}
            /// <exception cref="global::System.ArgumentException">A shape, stride or length does not fit; nothing was computed.</exception>
            public void Run<T, TOut>(in global::AttnCompose.AttentionArguments<T, TOut> arguments{{host}})
                {{Where}}
            {
                var rules = new global::AttnCompose.Cpu.RuleSpans();{{adds}}
                if (this._cpu is not null)
                    this._cpu.Run(this, in arguments, rules);
                else
                    this._cuda!.Run(this, in arguments, rules);
            }

            """);
        foreach (string input in new[] { "ReadOnlyTensorSpan", "TensorSpan" })
        {
            writer.WriteLine($$"""
                /// <summary>Computes attention over host memory; see <see cref="global::AttnCompose.AttentionArguments{T, TOut}"/> for the shapes.</summary>
                public void Run<T, TOut>(
                    global::System.Numerics.Tensors.{{input}}<T> query, global::System.Numerics.Tensors.{{input}}<T> key,
                    global::System.Numerics.Tensors.{{input}}<T> value, global::System.Numerics.Tensors.TensorSpan<TOut> output{{host}})
                    {{Where}} =>
                    this.Run(
                        new global::AttnCompose.AttentionArguments<T, TOut> { Query = query, Key = key, Value = value, Output = output }{{given}});

                """);
        }
        writer.WriteLine($$"""
            /// <summary>Puts attention over device memory on a stream and returns; nothing waits for the device.</summary>
            /// <param name="arguments">What goes in and what comes out.</param>
            {{spans}}
            /// <param name="stream">The stream; the device's default stream where it is null.</param>
            /// <exception cref="global::System.ArgumentException">A shape, stride or length does not fit; nothing was launched.</exception>
            public void Run<T, TOut>(
                in global::AttnCompose.Cuda.CudaAttentionArguments<T, TOut> arguments{{device}}, global::AttnCompose.Cuda.CudaStream? stream = null)
                {{Where}}
            {
                if (this._cuda is null)
                    throw new global::System.InvalidOperationException($"{Plan.Name} was created on {this.Device.Name}; tensors in device memory need AttentionDevice.Cuda.");
                this._cuda.Run(
                    this, in arguments,
                    [{{tensors}}
                    ],
                    stream);
            }

            /// <summary>Puts attention over device memory on a stream; see <see cref="global::AttnCompose.Cuda.CudaAttentionArguments{T, TOut}"/> for the shapes.</summary>
            public void Run<T, TOut>(
                global::AttnCompose.Cuda.CudaTensor<T> query, global::AttnCompose.Cuda.CudaTensor<T> key,
                global::AttnCompose.Cuda.CudaTensor<T> value, global::AttnCompose.Cuda.CudaTensor<TOut> output{{device}},
                global::AttnCompose.Cuda.CudaStream? stream = null)
                {{Where}} =>
                this.Run(
                    new global::AttnCompose.Cuda.CudaAttentionArguments<T, TOut> { Query = query, Key = key, Value = value, Output = output }{{given}}, stream);

            /// <inheritdoc/>
            void global::AttnCompose.IAttentionPipeline.Run<T, TOut>(in global::AttnCompose.AttentionArguments<T, TOut> arguments) =>
                throw new global::System.InvalidOperationException($"{{missing}}");

            /// <inheritdoc/>
            void global::AttnCompose.Cuda.ICudaAttentionPipeline.Run<T, TOut>(
                in global::AttnCompose.Cuda.CudaAttentionArguments<T, TOut> arguments, global::AttnCompose.Cuda.CudaStream? stream) =>
                throw new global::System.InvalidOperationException($"{{missing}}");

            """);
    }

    private static string Element(RuleSpanNode span) => span.Buffer.Type.Keyword();

    private static string Flags(RuleAxes axes) => axes == RuleAxes.None
        ? "global::AttnCompose.RuleAxes.None"
        : string.Join(" | ", Of(axes).Select(axis => $"global::AttnCompose.RuleAxes.{axis}"));

    private static string Axes(RuleAxes axes) => string.Join(" and a ", Of(axes).Select(axis => axis switch
    {
        RuleAxes.Batch => "sequence",
        RuleAxes.QueryHeads => "query head",
        RuleAxes.KeyValueHeads => "key/value head",
        _ => "key",
    }));

    private static System.Collections.Generic.IEnumerable<RuleAxes> Of(RuleAxes axes) =>
        new[] { RuleAxes.Batch, RuleAxes.QueryHeads, RuleAxes.KeyValueHeads, RuleAxes.Keys }.Where(axis => (axes & axis) != 0);
}
