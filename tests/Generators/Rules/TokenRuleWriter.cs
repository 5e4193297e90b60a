using System.Globalization;
using System.Text;

namespace AttnCompose.Generators.Tests.Rules;

/// <summary>Writes random token score rules: loops over a token's vectors, branches that tokens take apart, early returns, methods.</summary>
internal sealed class TokenRuleWriter(Random random)
{
    private const int Deepest = 3;

    private readonly StringBuilder _text = new();
    private readonly List<string> _floats = [];
    private string? _counter; // of the loop around, which runs over a vector
    private readonly bool _readsAnywhere = random.Next(3) == 0;
    private bool _isHelper;
    private int _names, _indentation;

    /// <summary>A pipeline class whose token score is a rule.</summary>
    public string Pipeline(string name)
    {
        Line($"[AttentionPipeline, TopP, GatherTokens, FlashAttention, ScatterTokens] public partial class {name}");
        Line("{");
        Method("public static float Helper(in TokenPosition at, ReadOnlySpan<float> key, float x)", ["x"], isHelper: true);
        Method(
            "[TokenScoreRule] public static float Rule(in TokenPosition at, ReadOnlySpan<float> key, ReadOnlySpan<float> value, "
                + "ReadOnlySpan<float> table, float a = 0.3f, int n = 6)",
            ["a"], isHelper: false);
        Line("}");
        return _text.ToString();
    }

    private void Method(string head, string[] floats, bool isHelper)
    {
        _isHelper = isHelper;
        _floats.Clear();
        _floats.AddRange(floats);
        Line(head);
        Line("{");
        for (int i = 0; i < (isHelper ? 2 : 4); i++)
            Statement(0);
        Line($"return {Float(0)};");
        Line("}");
    }

    // Locals of a block end with it.
    private void Statements(int depth, int count)
    {
        int known = _floats.Count;
        for (int i = 0; i < count; i++)
            Statement(depth);
        _floats.RemoveRange(known, _floats.Count - known);
    }

    private void Statement(int depth)
    {
        string call = _isHelper ? Float(1) : $"Helper(at, key, {Float(2)})";
        switch (depth >= Deepest ? random.Next(3) : random.Next(11))
        {
            case 0 or 1:
                string name = $"x{_names++}";
                Line($"float {name} = {(random.Next(4) == 0 ? call : Float(0))};");
                _floats.Add(name);
                break;
            case 2 or 3:
                Line($"{_floats[random.Next(_floats.Count)]} {Pick("=", "+=", "-=", "*=")} {Float(0)};");
                break;
            case 4 or 5:
                Block($"if ({Condition(random.Next(3) == 0)})", depth);
                if (random.Next(2) == 0)
                    Block("else", depth);
                break;
            case 6:
                Line($"if ({Condition(random.Next(2) == 0)})\n    return {Float(0)};");
                break;
            case 7 or 8 when _counter is null:
                _counter = $"d{_names++}";
                Block($"for (int {_counter} = {random.Next(2)}; {_counter} < key.Length; {_counter} += {1 + random.Next(2)})", depth);
                _counter = null;
                break;
            case 9:
                string i = $"i{_names++}";
                Line($"for (int {i} = 5; {i} >= 0; {i} -= 2)");
                Line("{");
                Line($"if ({i} == {random.Next(6)})\n    {Pick("break", "continue")};");
                Statements(depth + 1, 1);
                Line("}");
                break;
            default:
                Line($"{_floats[random.Next(_floats.Count)]} = {call};");
                break;
        }
    }

    private void Block(string head, int depth)
    {
        Line(head);
        Line("{");
        Statements(depth + 1, 1 + random.Next(2));
        Line("}");
    }

    private string Condition(bool isUniform) => isUniform
        ? Pick("at.QueryHead == 1", "at.Length > 40", "at.Batch < 1 || at.KeyValueHead == 0")
        : Pick("at.Position < 80", "(at.Position & 3) == 1", $"{Atom()} < {Atom()}", $"at.Position > 90 && {Atom()} > 0.5f");

    private string Float(int depth)
    {
        if (depth > 2 || random.Next(3) == 0)
            return Atom();
        string x = Float(depth + 1);
        return random.Next(8) switch
        {
            0 => $"({x} + {Float(depth + 1)})",
            1 => $"({x} - {Float(depth + 1)})",
            2 => $"({x} * {Float(depth + 1)})",
            3 => $"MathF.Max({x}, {Float(depth + 1)})",
            4 => $"MathF.Abs({x})",
            5 => $"(-{x})",
            6 => $"({Condition(false)} ? {x} : {Float(depth + 1)})",
            _ => $"MathF.Sqrt({x})",
        };
    }

    private string Atom() => Pick(
        _floats[random.Next(_floats.Count)], "1.5f", (random.NextSingle() * 3).ToString("0.00", CultureInfo.InvariantCulture) + "f",
        "at.Position", "at.QueryHead", "at.Length", "key.Length", _isHelper ? "at.KeyValueHead" : Pick("table[at.Position]", "n"),
        Element("key", 2), _isHelper ? Element("key", 9) : Pick(Element("value", 9), Element("table", 3)));

    // At an index that nothing bounds, an element may be read where all tokens come by alone.
    private string Element(string of, int index) =>
        _counter is not null && of != "table" ? $"{of}[{_counter}]" : _readsAnywhere ? $"{of}[{index}]" : "0.75f";

    private string Pick(params string[] of) => of[random.Next(of.Length)];

    private void Line(string text)
    {
        foreach (string line in text.Split('\n'))
        {
            _indentation -= line.StartsWith('}') ? 1 : 0;
            _text.Append(' ', 4 * _indentation).Append(line).Append('\n');
            _indentation += line.StartsWith('{') ? 1 : 0;
        }
    }
}
