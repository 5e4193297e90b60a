using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;

namespace AttnCompose.Generators.Emit;

/// <summary>The tensors that the stages of a pipeline take from the caller, as two types: one in host memory, one on a device.</summary>
internal static class TensorsEmitter
{
    public static void Emit(SourceWriter writer, StageGraph graph)
    {
        Write(
            writer, graph, "Tensors", "in host memory", "global::AttnCompose.StageTensors", "global::System.Numerics.Tensors.Tensor");
        Write(
            writer, graph, "CudaTensors", "in device memory", "global::AttnCompose.Cuda.CudaStageTensors",
            "global::AttnCompose.Cuda.CudaTensor");
    }

    private static void Write(SourceWriter writer, StageGraph graph, string name, string where, string parent, string tensorType)
    {
        writer.WriteLine();
        writer.WriteLine($"/// <summary>The tensors that the stages take from the caller, {where}; made once and given to many calls.</summary>");
        using (writer.WriteBlock($"public sealed class {name} : {parent}"))
        {
            foreach (StageNode node in graph.Nodes)
            {
                foreach (TensorSpec tensor in node.Stage.Tensors)
                {
                    string summary = tensor.Summary.Length == 0 ? "" : $": {Literals.Xml(tensor.Summary)}";
                    writer.WriteLineIf(tensor != graph.Tensors.First(), "");
                    writer.WriteLine($"/// <summary>{Literals.Xml(tensor.Words)}, of {node.Stage.Name}{summary}.</summary>");
                    using (writer.WriteBlock($"public required {tensorType}<{tensor.ElementType}> {tensor.Member}"))
                        writer.WriteLine($"init => this.Set({Literals.CSharpString(tensor.Name)}, value);");
                }
            }
        }
    }
}
