using System.Diagnostics;
using System.Reflection;

namespace AttnCompose.Cuda.Tests;

/// <summary>Runs the tests that need a GPU without the SDK's test host: a line each, and a count.</summary>
internal static class GpuTestRunner
{
    /// <param name="names">Parts of the names of tests to run; all where there are none.</param>
    /// <returns>The exit code.</returns>
    public static int Run(string[] names)
    {
        if (Machine.WithoutGpu is { } reason)
        {
            Console.WriteLine(reason);
            return 1;
        }
        int passed = 0, failed = 0;
        var tests =
            from type in typeof(GpuTestRunner).Assembly.GetTypes()
            from method in type.GetMethods()
            where method.GetCustomAttribute<GpuFactAttribute>() is not null
            orderby type.Name, method.Name
            select (type, method);
        foreach (var (type, method) in tests)
        {
            string name = $"{type.Name}.{method.Name}";
            if (names.Length > 0 && !names.Any(part => name.Contains(part, StringComparison.Ordinal)))
                continue;
            var clock = Stopwatch.StartNew();
            Exception? failure = Try(type, method);
            Console.WriteLine($"{(failure is null ? "passed" : "FAILED")} {name} ({clock.Elapsed.TotalSeconds:0.0} s)");
            if (failure is not null)
                Console.WriteLine(failure);
            (passed, failed) = failure is null ? (passed + 1, failed) : (passed, failed + 1);
        }
        Console.WriteLine($"{passed} passed, {failed} failed");
        return failed == 0 && passed > 0 ? 0 : 1;
    }

    private static Exception? Try(Type type, MethodInfo method)
    {
        object? instance = null;
        try
        {
            instance = Activator.CreateInstance(type);
            (method.Invoke(instance, null) as Task)?.GetAwaiter().GetResult();
            return null;
        }
        catch (Exception e)
        {
            return e is TargetInvocationException { InnerException: { } inner } ? inner : e;
        }
        finally
        {
            (instance as IDisposable)?.Dispose();
        }
    }
}
