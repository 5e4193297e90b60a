using System.Collections;
using System.Reflection;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Text;

namespace AttnCompose.Generators.Tests;

/// <summary>What travels between the steps is a value: equal for equal text, and free of the compiler's own objects.</summary>
public sealed class ModelTests
{
    private const string Declaration = """
        namespace Some.Where;

        partial class Outer
        {
            [AttentionPipeline(Mask = AttentionMask.Causal, HeadDim = 64, Element = ElementType.Float16)]
            [TestSelect(Share = 0.25), TestGather, TestAttend, TestScatter]
            partial class Sparse;
        }

        [AttentionPipeline(HeadDim = 12), TestGather, ClosedAttend]
        partial class Faulty;

        [AttentionPipeline, TestAttend]
        class NotPartial;

        [AttentionPipeline, TestAttend]
        partial class Ruled
        {
            [ScoreModifier]
            static float Bias(float score, in ScorePosition at, System.ReadOnlySpan<float> table, int most = 3)
            {
                float sum = 0;
                for (int i = 0; i < most; i++)
                {
                    if (i == at.Batch || table.Length > 5)
                        continue;
                    else if (!(sum >= table[i]))
                        break;
                    sum += Half(table[at.Key]) * (float)-i;
                }
                return System.MathF.Max(score, at.Key is 1 or > 5 ? sum : 0);
            }

            static float Half(float x) { { return x / 2; } }
        }
        """;

    private static readonly string[] s_steps = [TrackingNames.Parse, TrackingNames.Spec, TrackingNames.Plan, TrackingNames.Diagnostics];

    public static readonly TheoryData<string> Steps = [.. s_steps];

    [Theory]
    [MemberData(nameof(Steps))]
    public void A_model_reaches_none_of_the_compilers_objects(string step)
    {
        foreach (object model in Models(step, Declaration))
        {
            foreach ((object reached, string path) in Walk(model))
            {
                Assert.False(
                    reached is ISymbol or SyntaxNode or SyntaxTree or SyntaxReference or Compilation or Location or SemanticModel or AttributeData
                        or SourceText or Diagnostic,
                    $"{step} holds a {reached.GetType().Name} at {path}.");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Steps))]
    public void Equal_text_gives_an_equal_model(string step)
    {
        List<object> first = Models(step, Declaration);
        List<object> second = Models(step, Declaration);
        Assert.NotEmpty(first);
        Assert.Equal(first, second);
        Assert.Equal(first.Select(m => m.GetHashCode()), second.Select(m => m.GetHashCode()));
        Assert.All(first.Zip(second), pair => Assert.NotSame(pair.First, pair.Second));
    }

    [Theory]
    [InlineData("Causal", "Full")]
    [InlineData("HeadDim = 64", "HeadDim = 72")]
    [InlineData("Float16", "BFloat16")]
    [InlineData("Share = 0.25", "Share = 0.5")]
    [InlineData("TestSelect(Share = 0.25)", "TestSelect(Share = 0.25, Window = 3)")]
    [InlineData("class Sparse", "class Sparser")]
    [InlineData("partial class Outer", "partial struct Outer")]
    [InlineData("Some.Where", "Some.Place")]
    [InlineData("most = 3", "most = 4")]
    [InlineData("i == at.Batch", "i == at.Key")]
    [InlineData("x / 2", "x / 3")]
    [InlineData("i++", "i += 2")]
    [InlineData("1 or > 5", "1 or > 6")]
    public void Text_of_another_meaning_gives_another_model(string old, string other) =>
        Assert.NotEqual(Models(TrackingNames.Spec, Declaration), Models(TrackingNames.Spec, Declaration.Replace(old, other, StringComparison.Ordinal)));

    [Theory]
    [MemberData(nameof(Steps))]
    public void Every_type_of_a_model_compares_by_value(string step)
    {
        foreach (Type type in Models(step, Declaration).SelectMany(Walk).Select(reached => reached.Object.GetType()).Distinct())
        {
            if (type.IsArray || type.IsEnum)
                continue;
            Assert.True(
                typeof(IEquatable<>).MakeGenericType(type).IsAssignableFrom(type),
                $"{type} is part of what {step} hands on and has no equality of its own.");
        }
    }

    private static List<object> Models(string step, string source) =>
        [.. Compiler.Generate(Compiler.Compile(source)).Results.Single().TrackedSteps[step].SelectMany(s => s.Outputs).Select(o => o.Value)];

    /// <summary>Every object that fields and elements lead to, with the way to it.</summary>
    private static IEnumerable<(object Object, string Path)> Walk(object root)
    {
        var seen = new HashSet<object>(ReferenceEqualityComparer.Instance);
        var open = new Stack<(object Object, string Path)>();
        open.Push((root, root.GetType().Name));
        while (open.TryPop(out (object Object, string Path) at))
        {
            if (!at.Object.GetType().IsValueType && !seen.Add(at.Object))
                continue;
            yield return at;
            if (at.Object is string || at.Object.GetType().IsPrimitive || at.Object.GetType().IsEnum)
                continue;
            if (at.Object is IEnumerable items)
            {
                foreach (object? item in items)
                {
                    if (item is not null)
                        open.Push((item, at.Path + "[]"));
                }
            }
            for (Type? type = at.Object.GetType(); type is not null && !type.IsArray; type = type.BaseType)
            {
                foreach (FieldInfo field in type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly))
                {
                    if (field.GetValue(at.Object) is { } value)
                        open.Push((value, $"{at.Path}.{field.Name}"));
                }
            }
        }
    }
}
