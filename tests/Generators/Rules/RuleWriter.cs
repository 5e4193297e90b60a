using System.Globalization;
using System.Text;

namespace AttnCompose.Generators.Tests.Rules;

/// <summary>
/// Writes rules from a seed, out of all that a rule may hold and whose result is exact: what is computed must be the same to the
/// bit in every form. No rule throws: divisors are positive and indices are inside.
/// </summary>
internal sealed class RuleWriter(Random random)
{
    /// <summary>Elements of each span of the rules.</summary>
    public const int SpanLength = 64;

    private const string Parameters =
        "ReadOnlySpan<float> table, ReadOnlySpan<int> ids, ReadOnlySpan<bool> flags, float a = 0.75f, int n = 5, bool f = true";

    private readonly List<string> _floats = [], _ints = [], _bools = [], _fixed = [];
    private StringBuilder _text = new();
    private bool _canLoop, _inHelper;
    private int _locals, _indent;

    /// <summary>A pipeline with a score rule, and in half of the cases a mask rule. Without loops it has a vector form, if its indices do.</summary>
    public string Pipeline(string name, bool loops, bool keyTables)
    {
        _canLoop = loops;
        _text = new StringBuilder($"[AttentionPipeline, FlashAttention]\npublic sealed partial class {name}\n{{\n");
        Method("float Helper(float score, in ScorePosition at, ReadOnlySpan<int> ids, int n)", "float", keyTables, inHelper: true);
        Method($"[ScoreModifier] float Rule(float score, in ScorePosition at, {Parameters})", "float", keyTables, inHelper: false);
        if (random.Next(2) == 0)
            Method($"[MaskModifier] bool Mask(in ScorePosition at, {Parameters})", "bool", keyTables, inHelper: false);
        return _text.Append("}\n").ToString();
    }

    /// <summary>A pipeline with a mask rule out of comparisons of positions, as masks of the literature are.</summary>
    public string Shape(string name) => $$"""
        [AttentionPipeline, FlashAttention]
        public sealed partial class {{name}}
        {
            [MaskModifier]
            internal static bool Mask(in ScorePosition at, {{Parameters}})
            {
                int distance = at.Query - at.Key;
                return {{Condition(2)}};
            }
        }

        """;

    /// <summary>A pipeline with a score rule that has a term of the distance of query and key, as relative biases are.</summary>
    public string Bias(string name)
    {
        string distance = Pick("distance", "(at.Query - at.Key)");
        string term = random.Next(6) switch
        {
            0 => $"table[Math.Clamp({distance}, 0, 63)]",
            1 or 2 => $"table[(at.QueryHead * 8 + Bucket({distance}, n)) & 63]",
            3 => $"a * MathF.Sqrt((float)Math.Abs({distance}) / 3f)",
            4 => $"(flags[Bucket({distance}, n)] ? a : table[{distance} & 63])",
            _ => $"(table[at.KeyValueHead] - ids[Math.Abs({distance})])",
        };
        string result = random.Next(6) switch
        {
            0 or 1 => $"score + {term}",
            2 => $"score * {term} - a",
            3 => $"at.Key > 3 ? score + {term} : score",
            4 => $"MathF.Max({term}, score) - table[at.Key]",
            _ => $"f ? score : score - ({term} + n)",
        };
        return $$"""
            [AttentionPipeline, FlashAttention]
            public sealed partial class {{name}}
            {
                [ScoreModifier]
                internal static float Rule(float score, in ScorePosition at, {{Parameters}})
                {
                    int distance = at.Query - at.Key;
                    if (at.Query < {{random.Next(3)}})
                        return score;
                    return {{result}};
                }

                private static int Bucket(int distance, int n)
                {
                    if (distance < n)
                        return Math.Max(distance, 0);
                    return Math.Min(n + (int)MathF.Sqrt((float)distance / n), 63);
                }
            }

            """;
    }

    private string Condition(int depth)
    {
        if (depth > 0 && random.Next(4) > 0)
        {
            string left = Condition(depth - 1), right = Condition(depth - 1);
            return random.Next(8) switch
            {
                0 => $"!({left})",
                1 => $"({left} ? {right} : {Condition(depth - 1)})",
                2 => $"({left} != {right})",
                < 6 => $"({left} && {right})",
                _ => $"({left} || {right})",
            };
        }
        string number = Pick("n", "3", "17", "30");
        string leaf = random.Next(12) switch
        {
            0 or 1 => $"distance {Pick("<", "<=", ">=")} {number}",
            2 => $"Math.Abs(distance) <= {number}",
            3 => $"at.Key {Pick("<", ">=")} {number}",
            4 => $"at.Query / {number} == at.Key / {number}",
            5 => $"at.Query / {number} - at.Key / {number} <= 1",
            6 => $"at.Key % {number} < 2",
            7 => "ids[at.Query] == ids[at.Key]",
            8 => $"flags[at.{Pick("Query", "Key", "Batch")}]",
            9 => "table[at.Key] * 0.5f < a - distance",
            10 => $"at.Key < ids[at.{Pick("Batch", "QueryHead", "Query")}]",
            _ => $"(at.Key & 31) >> 2 < Math.Min(at.Query, {number})",
        };
        return $"({leaf})";
    }

    private void Method(string signature, string returns, bool keyTables, bool inHelper)
    {
        _inHelper = inHelper;
        _locals = 0;
        foreach (List<string> list in (List<string>[])[_floats, _ints, _bools, _fixed])
            list.Clear();
        _floats.AddRange(returns == "bool" ? ["a"] : inHelper ? ["score"] : ["score", "a", "score"]);
        _ints.AddRange(["at.Query", "at.Key", "at.QueryHead", "at.KeyValueHead", "at.Batch", "n", "ids[at.QueryHead]", "ids.Length"]);
        if (keyTables)
            _ints.Add("ids[at.Key]");
        if (_canLoop)
            _ints.Add("ids[(at.Query ^ at.Key) & 31]");
        if (!inHelper)
        {
            _bools.AddRange(["f", "flags[at.Batch]"]);
            _floats.AddRange(keyTables ? ["table[at.KeyValueHead]", "table[at.Key]"] : ["table[at.KeyValueHead]"]);
        }
        string attribute = signature.StartsWith('[') ? signature[..(signature.IndexOf(']', StringComparison.Ordinal) + 2)] : "";
        Line($"{attribute}internal static {signature[attribute.Length..]}");
        Open();
        Statements(random.Next(1, 4), returns);
        Line($"return {(returns == "bool" ? Bool(2) : Float(3))};");
        Close();
    }

    private void Statements(int count, string returns)
    {
        (int floats, int ints, int bools) = (_floats.Count, _ints.Count, _bools.Count);
        for (int i = 0; i < count; i++)
            Statement(returns);
        // Locals end with their block.
        _floats.RemoveRange(floats, _floats.Count - floats);
        _ints.RemoveRange(ints, _ints.Count - ints);
        _bools.RemoveRange(bools, _bools.Count - bools);
    }

    private void Statement(string returns)
    {
        switch (random.Next(_indent > 3 ? 5 : 9))
        {
            case 0 or 1:
                Declare("float", _floats, Float(3));
                break;
            case 2:
                Declare("int", _ints, Int(3));
                break;
            case 3:
                Declare("bool", _bools, Bool(2));
                break;
            case 4:
                Assign();
                break;
            case 5 or 6:
                Line($"if ({Bool(2)})");
                Open();
                Statements(random.Next(1, 3), returns);
                if (random.Next(3) == 0)
                    Line($"return {(returns == "bool" ? Bool(2) : Float(2))};");
                Close();
                if (random.Next(2) == 0)
                {
                    Line("else");
                    Open();
                    Statements(random.Next(1, 3), returns);
                    Close();
                }
                break;
            case 7 when _canLoop:
                string i = $"i{_locals++}";
                Line(random.Next(2) == 0 ? $"for (int {i} = 0; {i} < {random.Next(1, 5)}; {i}++)" : $"for (int {i} = n & 7; {i} >= 0; {i} -= {random.Next(1, 4)})");
                Open();
                _fixed.Add(i);
                _ints.Add(i);
                Statements(random.Next(1, 3), returns);
                if (random.Next(3) == 0)
                    Line($"if ({Bool(1)}) {(random.Next(2) == 0 ? "break" : "continue")};");
                _ints.Remove(i);
                Close();
                break;
            default:
                Declare("float", _floats, $"{(_inHelper ? "MathF.Abs(score)" : $"Helper({Float(1)}, at, ids, {Int(1)})")}");
                break;
        }
    }

    private void Declare(string type, List<string> scope, string value)
    {
        string name = $"{type[0]}{_locals++}";
        Line($"{type} {name} = {value};");
        scope.Add(name);
    }

    private void Assign()
    {
        string[] floats = [.. _floats.Where(IsLocal)], ints = [.. _ints.Where(IsLocal)];
        if (ints.Length > 0 && random.Next(2) == 0)
        {
            string name = Pick(ints);
            Line(random.Next(4) switch
            {
                0 => $"{name}++;",
                1 => $"{name} {Pick("+=", "-=", "*=", "^=", "|=", "&=")} {Int(2)};",
                2 => $"{name} {Pick("<<=", ">>=", ">>>=")} {random.Next(40)};",
                _ => $"{name} = {Int(3)};",
            });
        }
        else if (floats.Length > 0)
        {
            Line($"{Pick(floats)} {Pick("=", "+=", "-=", "*=")} {Float(3)};");
        }

        bool IsLocal(string name) => !_fixed.Contains(name) && (name == "score" || (name.Length > 1 && char.IsAsciiDigit(name[1])));
    }

    private string Float(int depth)
    {
        if (depth == 0)
            return random.Next(3) == 0 ? FloatLiteral() : Pick([.. _floats]);
        return random.Next(16) switch
        {
            0 or 1 => $"({Float(depth - 1)} + {Float(depth - 1)})",
            2 => $"({Float(depth - 1)} - {Float(depth - 1)})",
            3 or 4 => $"({Float(depth - 1)} * {Float(depth - 1)})",
            5 => $"({Float(depth - 1)} / {Float(depth - 1)})",
            6 => $"-{Float(depth - 1)}".Replace("--", "- -", StringComparison.Ordinal),
            7 => $"(float)({Int(depth - 1)})",
            8 => $"({Bool(depth - 1)} ? {Float(depth - 1)} : {Float(depth - 1)})",
            9 => $"MathF.{Pick("Abs", "Floor", "Ceiling", "Truncate", "Round", "Sqrt")}({Float(depth - 1)})",
            10 => $"{Pick("MathF", "Math", "float")}.{Pick("Min", "Max")}({Float(depth - 1)}, {Float(depth - 1)})",
            11 => $"MathF.{Pick("CopySign", "Max")}({Float(depth - 1)}, {Float(depth - 1)})",
            12 => $"Math.Clamp({Float(depth - 1)}, {-random.Next(1, 9)}f, {random.Next(1, 9)}.5f)",
            13 => $"MathF.FusedMultiplyAdd({Float(depth - 1)}, {Float(depth - 1)}, {Float(depth - 1)})",
            14 => $"({Int(depth - 1)} switch {{ {random.Next(4)} => {Float(depth - 1)}, > 9 and < 40 or -3 => {Float(depth - 1)}, _ => {Float(depth - 1)} }})",
            _ => Float(0),
        };
    }

    private string Int(int depth)
    {
        if (depth == 0)
            return random.Next(3) == 0 ? Pick("0", "1", "3", "17", "-1", "1000", "int.MaxValue", "int.MinValue", "0x5bd1e995") : Pick([.. _ints]);
        string uniform = Pick("n", "at.Query", "at.QueryHead", "3", "37");
        return random.Next(16) switch
        {
            0 or 1 => $"unchecked({Int(depth - 1)} + {Int(depth - 1)})",
            2 or 3 => $"unchecked({Int(depth - 1)} - {Int(depth - 1)})",
            4 => $"unchecked({Int(depth - 1)} * {Int(depth - 1)})",
            5 when _canLoop => $"({Int(depth - 1)} / ({Int(depth - 1)} & 7 | 1))",
            6 when _canLoop => $"({Int(depth - 1)} % {random.Next(2, 99)})",
            5 or 6 => $"({uniform} / {random.Next(2, 9)})",
            7 => $"({Int(depth - 1)} {Pick("&", "|", "^")} {Int(depth - 1)})",
            8 => $"({Int(depth - 1)} {Pick("<<", ">>", ">>>")} {(_canLoop ? Int(depth - 1) : uniform)})",
            9 => $"(~{Int(depth - 1)})",
            10 => $"unchecked((int)({Float(depth - 1)}))",
            11 => $"({Bool(depth - 1)} ? {Int(depth - 1)} : {Int(depth - 1)})",
            12 => $"Math.{Pick("Min", "Max")}({Int(depth - 1)}, {Int(depth - 1)})",
            13 => $"Math.Clamp({Int(depth - 1)}, {-random.Next(99)}, {random.Next(99)})",
            14 when _canLoop => $"Math.Abs({Int(depth - 1)} >> 1)",
            _ => Int(0),
        };
    }

    private string Bool(int depth)
    {
        if (depth == 0)
            return _bools.Count > 0 && random.Next(3) > 0 ? Pick([.. _bools]) : Pick("true", "false", "(at.Key <= at.Query)", "(n > 4)");
        return random.Next(9) switch
        {
            0 => $"({Float(depth - 1)} {Pick("<", "<=", ">", ">=", "==", "!=")} {Float(depth - 1)})",
            1 or 2 => $"({Int(depth - 1)} {Pick("<", "<=", ">", ">=", "==", "!=")} {Int(depth - 1)})",
            3 => $"({Bool(depth - 1)} {Pick("&&", "||", "&", "|", "^", "==", "!=")} {Bool(depth - 1)})",
            4 => $"(!{Bool(depth - 1)})",
            5 => $"float.{Pick("IsNaN", "IsFinite")}({Float(depth - 1)})",
            6 => $"({Int(depth - 1)} is {random.Next(9)} or > 12 and not 40)",
            7 => $"({Bool(depth - 1)} ? {Bool(depth - 1)} : {Bool(depth - 1)})",
            _ => Bool(0),
        };
    }

    private string FloatLiteral() => random.Next(6) switch
    {
        0 => Pick("float.NegativeInfinity", "float.PositiveInfinity", "float.NaN", "float.MaxValue", "float.Epsilon", "-0f", "0f"),
        1 => ((float)(random.NextDouble() * 2e9 - 1e9)).ToString("R", CultureInfo.InvariantCulture) + "f",
        _ => ((float)(random.NextDouble() * 8 - 4)).ToString("R", CultureInfo.InvariantCulture) + "f",
    };

    private string Pick(params string[] of) => of[random.Next(of.Length)];

    private void Open()
    {
        Line("{");
        _indent++;
    }

    private void Close()
    {
        _indent--;
        Line("}");
    }

    private void Line(string text) => _text.Append(' ', 4 * (_indent + 1)).Append(text).Append('\n');
}
