using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests.Pairs;

/// <summary>Pipelines of which every admitted pair of values has one: few, not one for each pair.</summary>
internal static class PairArray
{
    /// <summary>Choices of pipelines that are declared in source texts.</summary>
    public static IEnumerable<(string Name, Choice Choice)> Declared(params string[] texts)
    {
        Compilation compilation = Compiler.Compile([.. texts, Admission.World]);
        return compilation.GetSymbolsWithName(_ => true, SymbolFilter.Type).OfType<INamedTypeSymbol>()
            .Where(type => type.GetAttributes().Any(a => a.AttributeClass!.Name == "AttentionPipelineAttribute"))
            .OrderBy(type => type.Name, StringComparer.Ordinal)
            .Select(type => (type.Name, Choice.Of(type)));
    }

    /// <summary>Admitted pairs that none of the choices has.</summary>
    public static HashSet<Pair> Missing(IEnumerable<Choice> choices) =>
        [.. Admission.Pairs.Where(pair => !Admission.Refused.ContainsKey(pair)).Except(choices.SelectMany(Admission.PairsOf))];

    /// <summary>Choices that have what is missing, each as much of it as can be.</summary>
    public static List<Choice> Complete(HashSet<Pair> missing)
    {
        var rows = new List<Choice>();
        while (missing.Count > 0)
        {
            Choice best = default;
            int most = 0;
            // Some beginnings lead further than others, and so do some ways among equals.
            foreach ((Pair begin, int turn) in missing.SelectMany(begin => Enumerable.Range(0, 7).Select(turn => (begin, turn))).Take(1500))
            {
                var values = new string?[Factors.All.Length];
                (values[begin.A], values[begin.B]) = (begin.First, begin.Second);
                if (!Fill(values, 0, missing, turn))
                    continue;
                Choice row = Choice.Dense.With([.. values.Select((value, factor) => (factor, value!))]);
                int gain = Admission.PairsOf(row).Where(missing.Contains).Sum(Weight);
                if (gain > most)
                    (best, most) = (row, gain);
            }
            Assert.True(most > 0, $"No declaration has one of the pairs {string.Join("; ", missing.Take(3))}.");
            missing.ExceptWith(Admission.PairsOf(best));
            rows.Add(best);
        }
        return rows;
    }

    // Gives the factors from one on values that go with all others, those first that bring the most.
    private static bool Fill(string?[] values, int factor, HashSet<Pair> missing, int turn)
    {
        if (factor == values.Length)
            return true;
        if (values[factor] is not null)
            return Fits(values, factor) && Fill(values, factor + 1, missing, turn);
        string[] all = Factors.All[factor].Values;
        IEnumerable<string> ranked = Enumerable.Range(0, all.Length).Select(i => all[(i + turn) % all.Length]).Append(Factor.Void)
            .Where(value => Fits(values, factor, value))
            .OrderByDescending(value => 
                Others(values, factor).Select(other => PairOf(factor, value, other, values[other]!)).Where(missing.Contains).Sum(Weight));
        foreach (string value in ranked.ToArray())
        {
            values[factor] = value;
            if (Fill(values, factor + 1, missing, turn))
                return true;
            values[factor] = null;
        }
        return false;
    }

    // The factors with the most values decide how many choices there are, so their pairs go first.
    private static int Weight(Pair pair) => Factors.All[pair.A].Values.Length * Factors.All[pair.B].Values.Length;

    private static bool Fits(string?[] values, int factor) => Fits(values, factor, values[factor]!);

    private static bool Fits(string?[] values, int factor, string value)
    {
        if (value == Factor.Void)
        {
            return factor == Factors.Heads && values[Factors.Tokens] is { } tokens && !Factors.IsScore(tokens)
                || factor == Factors.BlockSize && values[Factors.Kernel] is { } kernel && kernel != "BlockSparseAttention";
        }
        return Others(values, factor).All(other =>
            values[other] == Factor.Void || !Admission.Refused.ContainsKey(PairOf(factor, value, other, values[other]!)));
    }

    private static IEnumerable<int> Others(string?[] values, int factor) =>
        Enumerable.Range(0, values.Length).Where(other => other != factor && values[other] is not null);

    private static Pair PairOf(int a, string first, int b, string second) =>
        a < b ? new(a, first, b, second) : new(b, second, a, first);
}
