using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>One property that a suite checked.</summary>
/// <param name="Name">The property, and what it was checked on.</param>
/// <param name="Failure">What is wrong; null where nothing is.</param>
public sealed record SuiteCheck(string Name, string? Failure)
{
    /// <summary>Runs a check; an exception is a failure.</summary>
    internal static SuiteCheck Of(string name, Func<string?> check)
    {
        try
        {
            return new(name, check());
        }
        catch (Exception exception)
        {
            return new(name, $"{exception.GetType().Name}: {exception.Message}");
        }
    }
}

/// <summary>What is checked on a device besides random configurations: each suite by its name.</summary>
public static class DeviceSuites
{
    /// <summary>All suites, the quick ones first.</summary>
    public static IReadOnlyList<(string Name, string Description, Func<CudaDevice, IEnumerable<SuiteCheck>> Run)> All { get; } =
    [
        ("reference", "the plain kernel in double against the oracle", device => new ReferenceSuite(device).Run()),
        ("selection", "pool, budget and select on raw scores of every kind", device => new SelectionSuite(device).Run()),
        ("graph", "a captured graph, replayed with other lengths and coverage", device => new GraphSuite(device).Run()),
        ("threads", "two streams and eight threads", device => new ThreadSuite(device).Run()),
        ("far", "offsets past 2^31 and 2^32 bytes and elements", device => new FarSuite(device).Run()),
        ("long", "128K and 512K tokens", device => new LongSuite(device).Run()),
    ];
}
