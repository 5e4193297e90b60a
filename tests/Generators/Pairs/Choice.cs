using System.Text;
using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests.Pairs;

/// <summary>Something that a declaration decides, and all that it can be.</summary>
/// <param name="Name">What is decided.</param>
/// <param name="Values">Names of stages where it is a stage; <see cref="None"/> for no such stage.</param>
internal sealed record Factor(string Name, string[] Values)
{
    /// <summary>That there is no such stage or rule.</summary>
    public const string None = "none";

    /// <summary>That there is nothing of which this could be said; no value of its own.</summary>
    public const string Void = "-";
}

/// <summary>A value of each factor of <see cref="Factors"/>: a declaration, of which the generator says whether it can be.</summary>
internal readonly struct Choice
{
    private readonly string[] _values;

    private Choice(string[] values) => _values = values;

    public string this[int factor] => _values[factor];

    /// <summary>The dense pipeline without anything.</summary>
    public static Choice Dense { get; } = new(
    [
        Factor.None, Factor.None, Factor.Void, "no", Factor.None, Factor.None, "FlashAttention", Factor.Void, Factor.None, Factor.None,
        "Causal",
    ]);

    /// <summary>The same with other values.</summary>
    public Choice With(params (int Factor, string Value)[] values)
    {
        var all = (string[])_values.Clone();
        foreach ((int factor, string value) in values)
            all[factor] = value;
        return new(all);
    }

    /// <summary>The class; null where it cannot be written down.</summary>
    public string? Declaration(string name)
    {
        bool isScored = Factors.IsScore(this[Factors.Tokens]);
        bool isListed = this[Factors.Kernel] == "BlockSparseAttention";
        if (isScored == (this[Factors.Heads] == Factor.Void) && (isScored || this[Factors.Tokens] == Factor.None))
            return null;
        if (isListed && this[Factors.BlockSize] == Factor.Void)
            return null;
        if (this[Factors.Pruned] == "yes" && this[Factors.Tokens] == Factor.None)
            return null;
        var text = new StringBuilder($"[AttentionPipeline(Mask = AttentionMask.{this[Factors.Mask]})]\n");
        string heads = this[Factors.Heads] == Factor.Void ? "" : $"(Heads = HeadScope.{this[Factors.Heads]})";
        Line(
            Stage(Factors.Tokens, heads), Stage(Factors.Budget), this[Factors.Pruned] == "yes" ? "RecentQueries(Pool = 1), TopP" : "",
            Stage(Factors.Compress));
        string size = this[Factors.BlockSize] == Factor.Void
            ? ""
            : $"(BlockQuery = {this[Factors.BlockSize].Split('x')[0]}, BlockKey = {this[Factors.BlockSize].Split('x')[1]})";
        Line(Stage(Factors.Blocks), Stage(Factors.Kernel, size), Stage(Factors.Decompress));
        string rule = this[Factors.Modifier];
        text.Append($"internal sealed partial class {name}{(rule == "Documents" ? " : IDocumentPipeline" : "")}");
        return text.Append(rule == Factor.None ? ";\n" : $"\n{{\n    {Factors.Rules[rule]}\n}}\n").ToString();

        void Line(params string[] stages)
        {
            string line = string.Join(", ", stages.Where(stage => stage.Length > 0));
            if (line.Length > 0)
                text.Append($"[{line}]\n");
        }
    }

    /// <summary>What a declared pipeline chose.</summary>
    public static Choice Of(INamedTypeSymbol pipeline)
    {
        Choice choice = Dense;
        bool isFirst = true;
        foreach (AttributeData attribute in pipeline.GetAttributes())
        {
            string stage = attribute.AttributeClass!.Name.Replace("Attribute", "", StringComparison.Ordinal);
            string Argument(string name, string other) =>
                attribute.NamedArguments.FirstOrDefault(a => a.Key == name).Value is { Value: { } value } ? value.ToString()! : other;
            if (stage == "AttentionPipeline")
            {
                choice = choice.With((Factors.Mask, Factors.All[Factors.Mask].Values[int.Parse(Argument("Mask", "0"))]));
                continue;
            }
            int factor = Array.FindIndex(Factors.All, one => one.Values.Contains(stage));
            if (factor is Factors.Tokens && !isFirst)
                choice = choice.With((Factors.Pruned, "yes"));
            else if (factor != Factors.Budget || choice[Factors.Pruned] == "no")
                choice = choice.With((factor, stage));
            if (Factors.IsScore(stage) && choice[Factors.Pruned] == "no")
                choice = choice.With((Factors.Heads, Factors.All[Factors.Heads].Values[int.Parse(Argument("Heads", "0"))]));
            if (stage == "BlockSparseAttention")
                choice = choice.With((Factors.BlockSize, $"{Argument("BlockQuery", "128")}x{Argument("BlockKey", "128")}"));
            isFirst &= factor is not Factors.Tokens;
        }
        string? rule = pipeline.GetMembers().OfType<IMethodSymbol>().Select(method => method.Name).FirstOrDefault(Factors.Rules.ContainsKey);
        return choice.With((Factors.Modifier, rule ?? Factor.None));
    }

    private string Stage(int factor, string arguments = "") => this[factor] == Factor.None ? "" : this[factor] + arguments;
}
