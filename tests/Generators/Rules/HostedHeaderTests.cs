namespace AttnCompose.Generators.Tests.Rules;

/// <summary>Device headers that no rule is made of, on the processor.</summary>
public sealed class HostedHeaderTests
{
    [CppTheory]
    [InlineData("coverage_count")]
    public void A_block_chooses_what_a_sort_chooses(string program) => HostedDevice.RunProgram(program);
}
