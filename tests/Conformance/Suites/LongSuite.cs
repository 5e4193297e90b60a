using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>
/// Sequences that are too long for the oracle, 4 query heads over 1 key/value head: sampled rows and selection scores against
/// <see cref="DeviceReference"/>, and what must hold between results whatever they are.
/// </summary>
/// <param name="device">The device.</param>
/// <param name="lengths">Lengths of the sequences; 128K and 512K where none is given.</param>
public sealed class LongSuite(CudaDevice device, params int[] lengths)
{
    private readonly int[] _lengths = lengths.Length > 0 ? lengths : [1 << 17, 1 << 19];

    /// <summary>Runs the suite.</summary>
    public IEnumerable<SuiteCheck> Run()
    {
        using var reference = new DeviceReference(device);
        foreach (int length in _lengths)
        {
            foreach (SuiteCheck check in Run<BFloat16>(reference, length, headDim: 128))
                yield return check;
        }
        foreach (SuiteCheck check in Run<Half>(reference, _lengths[0], headDim: 64))
            yield return check;
    }

    private IEnumerable<SuiteCheck> Run<T>(DeviceReference reference, int length, int headDim)
        where T : unmanaged
    {
        using var checks = new LongChecks<T>(device, reference, length, headDim);
        foreach ((string name, Func<string?> check) in checks.All)
        {
            if (device.Fault is not null)
                yield break;
            yield return SuiteCheck.Of($"{length} tokens of {typeof(T).Name} d={headDim}: {name}", check);
        }
    }
}
