using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Lowering;

/// <summary>Turns the names that a phase or hook lists into what it is given: reads, then writes, then parameters.</summary>
internal static class Arguments
{
    private const string TokenIndex = "token_index";
    private const string BlockList = "block_list";
    private const string Heads = "heads";

    public static EquatableArray<ArgumentNode> Of(
        FusionPlan plan, int stage, IEnumerable<string> reads, IEnumerable<string> writes, IEnumerable<string> parameters)
    {
        var arguments = new List<ArgumentNode>();
        foreach (string name in reads)
            AddBuffer(name, isWritten: false);
        foreach (string name in writes)
            AddBuffer(name, isWritten: true);
        foreach (string name in parameters)
        {
            // Constants are members of the config, which the device struct sees anyway.
            if (plan.Graph.Nodes[stage].Options.FirstOrDefault(o => o.Parameter.Name == name) is { } option)
            {
                arguments.Add(new ArgumentNode(
                    ArgumentKind.Parameter, Names.Snake(name), option.Argument, option.Parameter.Type, stage, IsWritten: false));
            }
        }
        return arguments.ToEquatableArray();

        void AddBuffer(string name, bool isWritten)
        {
            if (arguments.FindIndex(a => a.Member == name) is >= 0 and int at)
            {
                arguments[at] = arguments[at] with { IsWritten = arguments[at].IsWritten || isWritten };
                return;
            }
            StageNode node = plan.Graph.Nodes[stage];
            if (name == TokenIndex && node.Stage.IsBudget && !isWritten && plan.Graph.Pruned(node) is null)
                return; // the first choice prunes none
            // A budget reads what the score before it wrote.
            int owner = name == BufferSpec.RawScores && node.Stage.IsBudget ? stage - 1 : stage;
            if (name == TokenIndex)
                arguments.Add(new ArgumentNode(ArgumentKind.TokenIndex, name, name, "attn::TokenIndex", stage, isWritten));
            else if (name == BlockList)
                arguments.Add(new ArgumentNode(ArgumentKind.BlockList, name, name, "attn::BlockList", stage, isWritten));
            else if (name == Heads)
                arguments.Add(new ArgumentNode(ArgumentKind.Heads, name, name, "attn::HeadRange", stage, isWritten));
            else if (node.Stage.Tensors.FirstOrDefault(t => t.Name == name) is { } tensor)
                arguments.Add(new ArgumentNode(ArgumentKind.Tensor, name, name, tensor.ElementType + "*", stage, IsWritten: false));
            else if (plan.Buffers.FirstOrDefault(b => b.Stage == owner && b.Local == name) is { } buffer)
                arguments.Add(new ArgumentNode(ArgumentKind.Buffer, name, buffer.Name, DeviceType(buffer) + "*", owner, isWritten));
            // query, key, value and output are members of the problem.
        }
    }

    private static string DeviceType(BufferNode buffer) => buffer.ElementType == "element" ? "Config::Element" : buffer.ElementType;
}
