using System.Reflection;
using System.Text.RegularExpressions;
using AttnCompose.Testing;

namespace AttnCompose.Architecture;

/// <summary>One place to add a stage: its folder, with the attribute and the device header side by side.</summary>
public sealed partial class StageTests
{
    private static readonly string[] Kinds =
        ["TokenScores", "TokenBudgets", "TokenSelectors", "Compressors", "BlockSelectors", "AttentionKernels", "Decompressors"];

    [Fact]
    public void There_are_stages_of_every_kind_that_a_sparse_pipeline_needs()
    {
        Type[] kinds =
            [typeof(TokenSelectorAttribute), typeof(CompressAttribute), typeof(AttentionKernelAttribute), typeof(DecompressAttribute)];
        Assert.All(kinds, kind => Assert.Contains(Stages.All, stage => stage.IsSubclassOf(kind)));
    }

    [Fact]
    public void A_stage_is_a_folder_with_its_attribute_and_its_header()
    {
        foreach (Type stage in Stages.All)
        {
            string name = stage.Name[..^"Attribute".Length];
            string source = Assert.Single(Files.Under("src/Pipelines", ".cs"), file => Path.GetFileName(file) == $"{stage.Name}.cs");
            string folder = Path.GetDirectoryName(source)!;
            string kind = Path.GetFileName(Path.GetDirectoryName(folder))!;
            Assert.True(Path.GetFileName(folder) == name, $"{Files.Name(source)} does not lie in a folder {name}.");
            Assert.True(Kinds.Contains(kind), $"{Files.Name(folder)} lies under no kind; kinds are {string.Join(", ", Kinds)}.");

            DeviceStageAttribute? device = stage.GetCustomAttribute<DeviceStageAttribute>();
            Assert.True(device is not null, $"{stage.Name} has no [DeviceStage].");
            Assert.Matches("^[a-z0-9]+(_[a-z0-9]+)*\\.cuh$", device.Header);
            Assert.True(File.Exists(Path.Combine(folder, device.Header)), $"{device.Header} is missing beside {Files.Name(source)}.");
            Assert.Contains($"attncompose/stages/AttnCompose.Pipelines/{device.Header}", Stages.Assembly.GetManifestResourceNames());
        }
    }

    [Fact]
    public void Every_header_of_a_stage_folder_belongs_to_a_stage()
    {
        string[] headers = [.. Stages.All.Select(stage => stage.GetCustomAttribute<DeviceStageAttribute>()!.Header).Order(StringComparer.Ordinal)];
        Assert.Equal(headers, Files.Under("src/Pipelines", ".cuh").Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Public_stages_and_pipelines_are_sealed() =>
        Assert.All(
            Stages.Assembly.GetExportedTypes().Where(type => type.IsClass && !type.IsAbstract),
            type => Assert.True(type.IsSealed, $"{type} is not sealed."));

    [Fact]
    public void Every_parameter_says_what_it_is()
    {
        foreach (PropertyInfo property in Stages.All.SelectMany(
            stage => stage.GetProperties(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)))
        {
            if (property.SetMethod is not null)
            {
                Assert.True(
                    property.IsDefined(typeof(RuntimeParameterAttribute)) != property.IsDefined(typeof(ConstantParameterAttribute)),
                    $"{property.DeclaringType!.Name}.{property.Name} is neither an option nor a constant.");
            }
        }
    }

    [Fact]
    public void Device_code_includes_shared_device_headers_alone()
    {
        string[] headers = [.. Files.Under("src", ".cuh")];
        Assert.NotEmpty(headers);
        foreach (string file in headers)
        {
            foreach (Match include in IncludeLine().Matches(File.ReadAllText(file)))
            {
                string target = include.Groups["target"].Value;
                Assert.True(
                    target.StartsWith("<attncompose/", StringComparison.Ordinal)
                    && File.Exists(Repository.PathOf($"src/Cuda/Device/{target[1..^1]}")),
                    $"{Files.Name(file)} includes {target}; only <attncompose/...> of src/Cuda/Device may be included.");
            }
        }
    }

    [GeneratedRegex("""^\s*#\s*include\s+(?<target>\S+)""", RegexOptions.Multiline)]
    private static partial Regex IncludeLine();
}
