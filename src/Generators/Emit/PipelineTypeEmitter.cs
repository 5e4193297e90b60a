using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Emit;

/// <summary>What users see of a generated pipeline: Create, Options, Plan, Run; and the stages as fields.</summary>
internal static class PipelineTypeEmitter
{
    public static void Emit(SourceWriter writer, StageGraph graph)
    {
        WriteFields(writer, graph);
        WriteConstructor(writer, graph);
        WriteStages(writer, graph);
        WriteCreate(writer, graph);
        WriteProperties(writer);
        if (graph.Spans.Count == 0)
            WriteRun(writer);
        else
            RuleRunEmitter.Emit(writer, graph.Spans);
        WriteDispose(writer);
        WriteOptions(writer, graph);
        if (graph.Tensors.Any())
            TensorsEmitter.Emit(writer, graph);
    }

    private static void WriteFields(SourceWriter writer, StageGraph graph)
    {
        foreach (StageNode node in graph.Nodes)
            writer.WriteLine($"private {node.Stage.TypeName} {node.Field};");
        writer.WriteLineIf(graph.Rules.Any, "private ScoreRules _rules;");
        writer.WriteLine("private readonly global::AttnCompose.Cpu.CpuPipelineRunner? _cpu;");
        writer.WriteLine("private readonly global::AttnCompose.Cuda.CudaPipelineRunner? _cuda;");
        writer.WriteLine();
    }

    private static void WriteConstructor(SourceWriter writer, StageGraph graph)
    {
        using (writer.WriteBlock($"private {graph.Type.Identifier}(global::AttnCompose.AttentionDevice device, Options options)"))
        {
            writer.WriteLine("CheckOptions(options);");
            writer.WriteLine("this.MakeStages(options);");
            writer.WriteLine("this.Device = device;");
            string declared = $"Plan.Name, Plan.Mask, Plan.HeadDim, Plan.Element";
            writer.WriteLine($$"""
                switch (device)
                {
                    case global::AttnCompose.Cpu.CpuDevice cpu:
                        this._cpu = new global::AttnCompose.Cpu.CpuPipelineRunner(cpu, {{declared}});
                        break;
                    case global::AttnCompose.Cuda.CudaDevice cuda:
                        this._cuda = new global::AttnCompose.Cuda.CudaPipelineRunner(cuda, s_program);
                        break;
                    default:
                        throw new global::System.NotSupportedException($"{Plan.Name} runs on a CpuDevice or a CudaDevice, not on {device.Name}.");
                }
                """);
        }
        writer.WriteLine();
    }

    private static void WriteStages(SourceWriter writer, StageGraph graph)
    {
        using (writer.WriteBlock("private static void CheckOptions(Options options)"))
        {
            foreach (OptionNode option in graph.Options)
                writer.WriteLine($"Plan.Check(nameof(Options.{option.Identifier}), {AsDouble(option)});");
        }
        writer.WriteLine();
        string fields = string.Join(", ", graph.Nodes.Select(node => $"nameof({node.Field})"));
        writer.WriteLine($"[global::System.Diagnostics.CodeAnalysis.MemberNotNull({fields})]");
        using (writer.WriteBlock("private void MakeStages(Options options)"))
        {
            foreach (StageNode node in graph.Nodes)
            {
                string values = string.Join(", ", node.Stage.Parameters.Select(p => p.IsConstant
                    ? $"{p.Identifier} = {(p.EnumName.Length > 0 ? $"({p.EnumName})" : "")}{Literals.Number(p.Type, p.Value)}"
                    : $"{p.Identifier} = options.{node.Options.First(o => o.Parameter == p).Identifier}"));
                writer.WriteLine($"this.{node.Field} = new {node.Stage.TypeName}{(values.Length > 0 ? $" {{ {values} }}" : "()")};");
                if (node.Stage.IsBudget)
                {
                    string earlier = graph.Pruned(node) is { } pruned ? $", earlier: this.{pruned.Field}" : "";
                    writer.WriteLine($"this.{node.Field}.Of(this.{graph.ScoreOf(node).Field}{earlier});");
                }
            }
            if (graph.Rules.Any)
            {
                string values = string.Join(", ", graph.Rules.Scalars.Select(s => $"{s.Option.Identifier} = options.{s.Option.Identifier}"));
                writer.WriteLine($"this._rules = new ScoreRules{(values.Length > 0 ? $" {{ {values} }}" : "()")};");
            }
        }
        writer.WriteLine();
        writer.WriteLine("""
            /// <summary>Changes the parameters, from the next call on. A captured graph keeps those of its capture until it is updated.</summary>
            /// <param name="options">All parameters; those that are not named get their declared values.</param>
            /// <exception cref="global::System.ArgumentOutOfRangeException">An option lies outside its range; nothing was changed.</exception>
            /// <exception cref="global::System.InvalidOperationException">A call is running on this instance.</exception>
            public void Configure(Options options)
            {
                global::System.ArgumentNullException.ThrowIfNull(options);
                CheckOptions(options);
                if (this._cpu is not null)
                    this._cpu.BetweenCalls(() => this.MakeStages(options));
                else
                    this._cuda!.BetweenCalls(() => this.MakeStages(options));
            }

            """);
    }

    private static void WriteCreate(SourceWriter writer, StageGraph graph)
    {
        writer.WriteLine($$"""
            /// <summary>Makes an instance on a device. An instance serves one call at a time.</summary>
            /// <param name="device">Where it runs: <c>AttentionDevice.Cpu()</c> or <c>AttentionDevice.Cuda(n)</c>. It is not disposed with the pipeline.</param>
            /// <param name="options">Parameters; the declared ones where it is null.</param>
            /// <exception cref="global::System.ArgumentOutOfRangeException">An option lies outside its range.</exception>
            public static {{graph.Type.Identifier}} Create(global::AttnCompose.AttentionDevice device, Options? options = null)
            {
                global::System.ArgumentNullException.ThrowIfNull(device);
                return new {{graph.Type.Identifier}}(device, options ?? new Options());
            }

            """);
    }

    private static void WriteProperties(SourceWriter writer) => writer.WriteLine("""
        /// <inheritdoc/>
        public global::AttnCompose.AttentionDevice Device { get; }

        /// <inheritdoc/>
        global::AttnCompose.PipelinePlan global::AttnCompose.IAttentionPipeline.PipelinePlan => Plan;

        """);

    private static void WriteRun(SourceWriter writer) => writer.WriteLine("""
        /// <inheritdoc/>
        public void Run<T, TOut>(in global::AttnCompose.AttentionArguments<T, TOut> arguments)
            where T : unmanaged
            where TOut : unmanaged
        {
            if (this._cpu is not null)
                this._cpu.Run(this, in arguments);
            else
                this._cuda!.Run(this, in arguments);
        }

        /// <inheritdoc/>
        public void Run<T, TOut>(in global::AttnCompose.Cuda.CudaAttentionArguments<T, TOut> arguments, global::AttnCompose.Cuda.CudaStream? stream = null)
            where T : unmanaged
            where TOut : unmanaged
        {
            if (this._cuda is null)
                throw new global::System.InvalidOperationException($"{Plan.Name} was created on {this.Device.Name}; tensors in device memory need AttentionDevice.Cuda.");
            this._cuda.Run(this, in arguments, stream);
        }

        """);

    private static void WriteDispose(SourceWriter writer) => writer.WriteLine("""
        /// <inheritdoc/>
        public void Warmup(
            global::System.Collections.Generic.IReadOnlyList<global::AttnCompose.Cuda.KernelVariant> variants,
            global::System.IProgress<global::AttnCompose.Cuda.WarmupProgress>? progress = null,
            global::System.Threading.CancellationToken cancellation = default)
        {
            if (this._cuda is null)
                throw new global::System.InvalidOperationException($"{Plan.Name} was created on {this.Device.Name}; only on a CUDA device are kernels compiled.");
            this._cuda.Warmup(variants, progress, cancellation);
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            this._cpu?.Dispose();
            this._cuda?.Dispose();
        }

        """);

    private static void WriteOptions(SourceWriter writer, StageGraph graph)
    {
        writer.WriteLine("/// <summary>What may change from one instance to the next; defaults are the declared values.</summary>");
        using (writer.WriteBlock("public sealed record Options"))
        {
            foreach (OptionNode option in graph.Options)
            {
                ParameterSpec p = option.Parameter;
                writer.WriteLine(p.DocumentationId.Length > 0
                    ? $"/// <inheritdoc cref=\"{p.DocumentationId}\"/>"
                    : $"/// <summary>Parameter of the rules: {RulesOf(graph, option)}.</summary>");
                writer.WriteLine($"public {p.Type} {option.Identifier} {{ get; init; }} = {Literals.Number(p.Type, p.Value)};");
                writer.WriteLine();
            }
            using (writer.WriteBlock("internal static Options From(global::System.Collections.Generic.IReadOnlyDictionary<string, double> values) => new()", "};"))
            {
                foreach (OptionNode option in graph.Options)
                    writer.WriteLine($"{option.Identifier} = {FromDouble(option)},");
            }
        }
    }

    private static string RulesOf(StageGraph graph, OptionNode option)
    {
        if (graph.Rules.Scalars.FirstOrDefault(s => s.Option == option)?.Scalar is not { } scalar)
            return $"<c>{Names.Camel(option.Parameter.Name)}</c> of <c>{graph.TokenRule!.Stage.Name}</c>";
        return string.Join(", ", scalar.Rules.Select(rule => $"<c>{scalar.Name}</c> of <c>{rule}</c>"));
    }

    private static string AsDouble(OptionNode option) =>
        option.Parameter.Type == "bool" ? $"options.{option.Identifier} ? 1 : 0" : $"options.{option.Identifier}";

    private static string FromDouble(OptionNode option)
    {
        string value = "global::System.Collections.Generic.CollectionExtensions.GetValueOrDefault("
            + $"values, nameof({option.Identifier}), {Literals.CSharpDouble(option.Parameter.Value)})";
        return option.Parameter.Type switch
        {
            "bool" => $"{value} != 0",
            "double" => value,
            string type => $"({type}){value}",
        };
    }
}
